"""Spellings: snake_case for attributes, CamelCase for classes, camelCase on the wire."""

from __future__ import annotations

import re

__all__ = ["camel", "member_name", "pascal", "singular", "snake"]

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """Return `logEntity`, `log-entity` or `log_entity` as `log_entity`."""
    return _HUMP.sub("_", name.replace("-", "_")).lower()


def pascal(name: str) -> str:
    """Return `app_version` or `AppVersion` as `AppVersion`."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))


def camel(name: str) -> str:
    """Return `working_dir` as `workingDir`."""
    whole = pascal(name)
    return whole[:1].lower() + whole[1:]


def singular(name: str) -> str:
    """Return `ports` as `port`, for the class of one element of a list."""
    for ending, short in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch")):
        if name.endswith(ending):
            return name.removesuffix(ending) + short
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def member_name(choice: str) -> str:
    """Return a choice as the name of an enum's member: `on-failure` as `ON_FAILURE`."""
    name = re.sub(r"\W+", "_", choice).strip("_").upper()
    return f"_{name}" if not name or name[0].isdigit() else name
