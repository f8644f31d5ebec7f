"""The shape of a schema file: what is wrong with it, and what is left when that is cut out.

What is left is compiled like any other schema, so that one wrong key hides no other problem.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from miren.base.errors import Problem
from miren.base.suggestions import closest
from miren.base.yaml import Located
from miren.schemagen.language import LANGUAGE
from miren.schemagen.model import Path

__all__ = ["mended", "misshapen"]

#: An attribute of which nothing is known: no key of it can be wrong.
_ANY = {"type": "json"}


def misshapen(document: Located) -> Iterator[Problem]:
    """Yield what JSON Schema finds, in our words and with places."""
    for error in _errors(document.value):
        yield from _problems(document, error)


def mended(value: object) -> dict[str, Any] | None:
    """Return a schema file's data without what is misshapen; None if nothing is left."""
    if not isinstance(value, dict):
        return None
    data = copy.deepcopy(value)
    for error in _errors(data):
        _cut(data, tuple(error.absolute_path), error)
    return None if _errors(data) else data


def _errors(value: object) -> list[Any]:
    found = sorted(_validator().iter_errors(value), key=lambda error: str(error.path))
    return [inner for error in found for inner in _innermost(error)]


def _innermost(error: Any) -> Iterator[Any]:
    """Yield what is wrong with the only form that was meant, where there are several."""
    if error.validator == "oneOf":
        forms: dict[int, list[Any]] = {}
        for inner in error.context:
            forms.setdefault(inner.schema_path[0], []).append(inner)
        meant = [form for form in forms.values() if not any(map(_is_other_type, form))]
        if len(meant) == 1:
            for inner in meant[0]:
                yield from _innermost(inner)
            return
    yield error


def _is_other_type(error: Any) -> bool:
    return error.validator == "type" and not error.path


def _problems(document: Located, error: Any) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        for key in _unknown(error):
            here = (*path, key)
            hint = closest(key, error.schema["properties"])
            yield Problem(f"unknown key {key!r}", here, document.position(here, key=True), hint)
    elif error.validator == "required":
        text = f"{', '.join(_missing(error))} is missing"
        yield Problem(text, path, document.position(path, key=True))
    elif "propertyNames" in error.absolute_schema_path:
        here = (*path, str(error.instance))
        message = f"{error.instance!r} is no name of letters, digits and _"
        yield Problem(message, here, document.position(here, key=True))
    elif error.validator == "oneOf":
        yield Problem("of an unexpected form", path, document.position(path))
    elif error.validator == "enum":
        choices = error.validator_value
        message = f"{error.instance!r} is not one of {', '.join(choices)}"
        hint = closest(str(error.instance), choices)
        yield Problem(message, path, document.position(path), hint)
    else:
        yield Problem(error.message, path, document.position(path))


def _unknown(error: Any) -> Iterable[str]:
    return sorted(set(error.instance) - set(error.schema["properties"]))


def _missing(error: Any) -> Iterable[str]:
    return [key for key in error.validator_value if key not in error.instance]


def _cut(data: dict[str, Any], path: Path, error: Any) -> None:
    """Take what an error is about out of the data."""
    if not path:
        if error.validator == "additionalProperties":
            for key in _unknown(error):
                data.pop(key, None)
        elif error.validator == "required":
            data |= {key: _DUMMIES[key] for key in _missing(error)}
        return
    if "propertyNames" in error.absolute_schema_path:
        path = (*path, error.instance)
    top, *rest = map(str, path)
    part = data.get(top)
    if top not in ("kinds", "components") or not rest or not isinstance(part, dict):
        data.pop(top, None)
        if top in _DUMMIES:
            data[top] = _DUMMIES[top]
    elif rest[1:2] == ["$options"]:
        _cut_options(part[rest[0]], rest[2:], error)
    else:
        _cut_attribute(part, rest, is_name="propertyNames" in error.absolute_schema_path)


def _cut_options(part: dict[str, Any], path: list[str], error: Any) -> None:
    options = part["$options"]
    if not isinstance(options, dict):
        del part["$options"]
        return
    for key in path[:1] or _unknown(error):
        options.pop(key, None)


def _cut_attribute(part: dict[str, Any], path: list[str], *, is_name: bool) -> None:
    """Cut out a kind or component, or what is said of one attribute."""
    name, *rest = path
    if not rest and is_name:
        part.pop(name, None)
    elif not rest:
        part[name] = {}
    elif is_name and len(rest) == 1:
        part[name].pop(rest[0], None)
    else:
        part[name][rest[0]] = _ANY


#: What stands in for what every file must have.
_DUMMIES = {"domain": "invalid", "version": "v0"}


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(LANGUAGE)
