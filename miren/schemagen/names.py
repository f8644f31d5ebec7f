"""Spellings: snake_case for attributes, CamelCase for classes, camelCase on the wire."""

from __future__ import annotations

import keyword
import re
import unicodedata

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

__all__ = [
    "camel",
    "member_name",
    "parameter_name",
    "pascal",
    "python_name",
    "singular",
    "snake",
    "version_order",
]

#: Class bodies evaluate their annotations where an attribute of that name would hide these.
_USED = frozenset(
    {"bool", "bytes", "datetime", "field", "float", "int", "object", "renamed", "str", "tuple"}
)

#: `new`'s own parameters and variables: an attribute of that name gets an underscore after it.
_TAKEN = frozenset(
    {"cls", "name", "project", "labels", "annotations", "metadata", "document", "known", "given"}
)

_STAGES = {"alpha": 0, "beta": 1, "": 2}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """Return `logEntity`, `log-entity` or `log_entity` as `log_entity`."""
    return _HUMP.sub("_", name.replace("-", "_")).lower()


def pascal(name: str) -> str:
    """Return `app_version` or `AppVersion` as `AppVersion`."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))


def camel(name: str) -> str:
    """Return `working_dir` as `workingDir`, exactly as models do."""
    return to_camel(name)


def python_name(name: str) -> str:
    """Return an attribute's name in Python, with an underscore where Python has it already."""
    name = snake(name)
    is_taken = keyword.iskeyword(name) or name in _USED or hasattr(BaseModel, name)
    return f"{name}_" if is_taken else name


def parameter_name(name: str) -> str:
    """Return the parameter of `new` that gives the attribute with this Python name."""
    return f"{name}_" if name in _TAKEN else name


def version_order(version: str) -> tuple[int, int, int]:
    """Return a key that sorts versions as Kubernetes does: v1alpha < v1alpha2 < v1beta1 < v1."""
    found = re.fullmatch(r"v(\d+)(?:([a-z]+)(\d*))?", version)
    if found is None:
        return (-1, 0, 0)
    major, stage, minor = found.groups(default="")
    return (_STAGES.get(stage, -1), int(major), int(minor or 0))


def singular(name: str) -> str:
    """Return `ports` as `port`, for the class of one element of a list."""
    for ending, short in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch")):
        if name.endswith(ending):
            return name.removesuffix(ending) + short
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def member_name(choice: str) -> str:
    """Return a choice as the name of an enum's member: `on-failure` as `ON_FAILURE`."""
    # Python reads names in this form too: two that are one then must be one here.
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", choice).upper())
    name = "".join(each if f"_{each}".isidentifier() else " " for each in name)
    name = re.sub(" +", "_", name).strip("_")
    return name if name.isidentifier() else f"_{name}"
