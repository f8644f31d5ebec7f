"""Default values and bounds: from what a schema says to values of the attribute's type."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime

from miren.base.quantities import Duration, Quantity
from miren.schemagen.model import Attribute

__all__ = ["converted", "labels"]


def converted(attribute: Attribute, value: object) -> object:
    """Return `value` as one of the attribute's type; raise ValueError when it is none.

    Times come as ISO texts and bytes as base64, checked.
    """
    try:
        return _CONVERTERS[attribute.type](attribute, value)
    except TypeError as error:
        raise ValueError(str(error)) from error


def labels(value: object) -> dict[str, str]:
    """Return labels, given as a mapping of texts or as a list of `key=value`; or ValueError."""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        pairs = [text.partition("=") for text in value]
        if all(key and equals for key, equals, _ in pairs):
            return {key: text for key, _, text in pairs}
    elif isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    raise ValueError("labels are a mapping of texts, or a list of key=value")


def _text(_attribute: Attribute, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text: quote it")
    return value


def _reference(attribute: Attribute, value: object) -> str:
    text = _text(attribute, value)
    if not re.fullmatch(r"[^/\s]+(/[^/\s]+){0,2}", text):
        raise ValueError(f"{text!r} is no reference")
    return text


def _integer(_attribute: Attribute, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _number(_attribute: Attribute, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _flag(_attribute: Attribute, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _choice(attribute: Attribute, value: object) -> str:
    if value not in attribute.choices:
        raise ValueError(f"{value!r} is none of {', '.join(attribute.choices)}")
    return str(value)


def _quantity(_attribute: Attribute, value: object) -> Quantity:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{value!r} is no quantity")
    return Quantity(value if isinstance(value, int) else str(value))


def _duration(attribute: Attribute, value: object) -> Duration:
    return Duration.parse(_text(attribute, value))


def _time(attribute: Attribute, value: object) -> str:
    moment = datetime.fromisoformat(_text(attribute, value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment.isoformat()


def _bytes(attribute: Attribute, value: object) -> str:
    text = _text(attribute, value)
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
    return text


_CONVERTERS: dict[str, Callable[[Attribute, object], object]] = {
    "string": _text,
    "keyword": _text,
    "label": _text,
    "ref": _reference,
    "int": _integer,
    "float": _number,
    "bool": _flag,
    "enum": _choice,
    "quantity": _quantity,
    "duration": _duration,
    "time": _time,
    "bytes": _bytes,
}
