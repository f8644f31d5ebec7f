"""Amounts and spans of time as people write them: `10Gi`, `500m`, `15m`.

Suffixes follow Kubernetes' resource.Quantity (binary Ki..Ei, decimal m, k..E) and Go's
time.ParseDuration (us, ms, s, m, h), plus `d` for a day of 24 hours. Both print canonically,
and reading what they print gives the same value.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Self

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
#: The default context rounds to 28 digits in silence; an amount is exact.
_EXACT = Context(prec=200)
_UNITS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|d|h|m|s)")


class Quantity(Decimal):
    """An exact amount. `Quantity("1.5Gi") == 1610612736`; prints in its shortest exact form."""

    __slots__ = ()

    def __new__(cls, value: str | int | Decimal) -> Self:
        """Parse `value`; raise ValueError when it is not an amount."""
        if not isinstance(value, str):
            if isinstance(value, Decimal) and not value.is_finite():
                raise ValueError(f"{Decimal(value)} is no amount")
            return super().__new__(cls, value)
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or len(value) > 100:
            raise ValueError(f"{value!r} is not a quantity like 500m, 2, 64Mi or 10Gi")
        number, suffix = match.groups()
        scale = _DECIMAL.get(suffix or "", Decimal(_BINARY.get(suffix or "", 1)))
        return super().__new__(cls, _EXACT.multiply(Decimal(number), scale))

    def __str__(self) -> str:
        """Return the canonical text: the largest suffix that leaves a whole number."""
        plain = Decimal(self)
        if plain == 0:
            return "0"
        if plain != plain.to_integral_value():
            milli = _EXACT.multiply(plain, Decimal(1000))
            return f"{int(milli)}m" if milli == milli.to_integral_value() else f"{plain:f}"
        whole = int(plain)
        for suffix, scale in reversed(_BINARY.items()):
            if whole % scale == 0:
                return f"{whole // scale}{suffix}"
        for suffix, factor in reversed(_DECIMAL.items()):
            if factor > 1 and whole % int(factor) == 0:
                return f"{whole // int(factor)}{suffix}"
        return str(whole)

    def __format__(self, specifier: str, context: Context | None = None, /) -> str:
        """Format as a number where the specifier asks for one, else canonically."""
        return super().__format__(specifier, context) if specifier else str(self)

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
            # ValueError is what pydantic reports as a problem of the value.
            raise ValueError(f"{value!r} is not a quantity like 500m, 2, 64Mi or 10Gi")  # noqa: TRY004
        return cls(Decimal(repr(value)) if isinstance(value, float) else value)


class Duration(timedelta):
    """A span of time. `Duration.parse("90m")` prints as `1h30m`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Parse `text` (`250ms`, `15m`, `1h30m`, `7d`); raise ValueError when it is none."""
        rest, micros, position = text.strip()[:100], Decimal(0), 0
        for match in _SPAN.finditer(rest):
            if match.start() != position:
                break
            micros = _EXACT.add(micros, _EXACT.multiply(Decimal(match[1]), _UNITS[match[2]]))
            position = match.end()
        if rest == "0":
            return cls(0)
        if not rest or position != len(rest):
            raise ValueError(f"{text!r} is not a duration like 250ms, 30s, 15m or 1h30m")
        if micros != micros.to_integral_value():
            raise ValueError(f"{text!r} is finer than a microsecond")
        try:
            return cls(microseconds=int(micros))
        except OverflowError as error:
            raise ValueError(f"{text!r} is longer than 999999999 days") from error

    def __str__(self) -> str:
        micros = self.days * _UNITS["d"] + self.seconds * 1_000_000 + self.microseconds
        if micros == 0:
            return "0s"
        text, micros = "-" if micros < 0 else "", abs(micros)
        for unit in ("h", "m", "s", "ms", "us"):
            count, micros = divmod(micros, _UNITS[unit])
            text += f"{count}{unit}" if count else ""
        return text

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
        return {"type": "string", "pattern": rf"^(0|({_SPAN.pattern})+)$"}

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
