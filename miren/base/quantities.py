"""Amounts and spans of time as people write them: `10Gi`, `500m`, `15m`.

Suffixes follow Kubernetes' resource.Quantity (binary Ki..Ei, decimal m, k..E) and Go's
time.ParseDuration (ms, s, m, h), plus `d` for a day of 24 hours.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["Duration", "Quantity"]

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E)?")
_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")


class Quantity(Decimal):
    """An exact amount. `Quantity("1.5Gi") == 1610612736`; prints in its shortest exact form."""

    __slots__ = ()

    def __new__(cls, value: str | int | Decimal) -> Quantity:
        """Parse `value`; raise ValueError when it is not an amount."""
        if not isinstance(value, str):
            return super().__new__(cls, value)
        match = _QUANTITY.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a quantity like 500m, 2, 64Mi or 10Gi")
        number, suffix = match.groups()
        scale = _DECIMAL.get(suffix or "", Decimal(_BINARY.get(suffix or "", 1)))
        return super().__new__(cls, Decimal(number) * scale)

    def __str__(self) -> str:
        """Return the canonical text: the largest suffix that leaves a whole number."""
        plain = Decimal(self)
        if plain == 0:
            return "0"
        if plain != plain.to_integral_value():
            milli = plain * 1000
            return f"{int(milli)}m" if milli == milli.to_integral_value() else f"{plain:f}"
        whole = int(plain)
        for suffix, scale in reversed(_BINARY.items()):
            if whole % scale == 0:
                return f"{whole // scale}{suffix}"
        for suffix, factor in reversed(_DECIMAL.items()):
            if factor > 1 and whole % int(factor) == 0:
                return f"{whole // int(factor)}{suffix}"
        return str(whole)

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _text_schema(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        pattern = rf"^{_QUANTITY.pattern}$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number"}]}

    @classmethod
    def _read(cls, value: object) -> Quantity:
        if isinstance(value, Quantity):
            return value
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise ValueError(f"{value!r} is not a quantity like 500m, 2, 64Mi or 10Gi")
        return cls(str(value) if isinstance(value, float) else value)


class Duration(timedelta):
    """A span of time. `Duration("1h30m")`; prints canonically as `1h30m`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Parse `text` (`250ms`, `15m`, `1h30m`, `7d`); raise ValueError when it is none."""
        rest, micros, position = text.strip(), Decimal(0), 0
        for match in _SPAN.finditer(rest):
            if match.start() != position:
                break
            micros += Decimal(match[1]) * _UNITS[match[2]]
            position = match.end()
        if rest == "0":
            return cls(0)
        if not rest or position != len(rest):
            raise ValueError(f"{text!r} is not a duration like 250ms, 30s, 15m or 1h30m")
        return cls(microseconds=int(micros))

    def __str__(self) -> str:
        micros = self.days * _UNITS["d"] + self.seconds * 1_000_000 + self.microseconds
        if micros == 0:
            return "0s"
        text = ""
        for unit in ("h", "m", "s"):
            count, micros = divmod(micros, _UNITS[unit])
            text += f"{count}{unit}" if count else ""
        return f"{text}{micros // 1000}ms" if micros else text

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _text_schema(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^({_SPAN.pattern})+$"}

    @classmethod
    def _read(cls, value: object) -> Duration:
        if isinstance(value, Duration):
            return value
        if isinstance(value, timedelta):
            return cls(days=value.days, seconds=value.seconds, microseconds=value.microseconds)
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError(f"{value!r} is not a duration like 250ms, 30s, 15m or 1h30m")


def _text_schema(read: Any) -> CoreSchema:
    """Return a pydantic schema that reads with `read` and writes the canonical text."""
    from pydantic_core import core_schema

    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.to_string_ser_schema()
    )
