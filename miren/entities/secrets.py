"""`SecretText`: text that shows itself only to whoever asks for it by name.

An entity read from a store holds only the mask, `(sealed)`, in place of each secret: what it
cannot show it cannot leak. One made to be written holds the text, and still prints, logs,
pickles and serialises as the mask. Written back, the mask means "keep what is stored", so a
document that was read, changed elsewhere and applied again changes no secret.

The mask is plain ASCII that YAML takes without quotes, and is in parentheses because nobody
chooses that as a password by accident; as a value of its own it cannot be stored.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_bytes
from types import MappingProxyType
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from pydantic_core.core_schema import SerializationInfo, ValidatorFunctionWrapHandler

from miren.base.errors import Refused

__all__ = ["MASK", "REVEALING", "Bounds", "SecretText"]

#: What stands in the place of every secret.
MASK = "(sealed)"

#: The serialization context that writes secrets in the clear: `model_dump(context=REVEALING)`.
#: Only for documents that are about to be sealed, sent to be stored, or shown on request.
REVEALING: Mapping[str, Any] = MappingProxyType({"reveal": True})

_SALT = token_bytes(16)  # so that a hash says nothing outside of this process


class SecretText:
    """A text that is shown as the mask everywhere but in `reveal`. Immutable, without order."""

    __slots__ = ("_text",)

    _text: str

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a secret is made from text, not from {type(text).__name__}")
        object.__setattr__(self, "_text", text)

    @property
    def is_masked(self) -> bool:
        """Whether only the mask is held: the text is where this came from, or nowhere."""
        return self._text == MASK

    def reveal(self) -> str:
        """Return the text; raise Refused when only the mask is held."""
        if self.is_masked:
            raise Refused(
                "this secret is masked: its text is not here",
                hint="read the entity with `client.reveal`",
            )
        return self._text

    def in_clear(self) -> str:
        """Return the text, or the mask where only that is held: what a written document says."""
        return self._text

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed: make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret cannot be changed: make a new one")

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"SecretText({MASK!r})"

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretText):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash((_SALT, self._text))

    def __copy__(self) -> SecretText:
        return self

    def __deepcopy__(self, _memo: object) -> SecretText:
        return self

    def __reduce__(self) -> tuple[type[SecretText], tuple[str]]:
        return SecretText, (MASK,)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _validated,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _serialised, info_arg=True, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "writeOnly": True}


@dataclass(frozen=True, slots=True)
class Bounds:
    """A check of secrets: a validator that lets the mask pass and never names a value.

    The whole text must match `pattern`. Of a list or map of secrets the lengths are its own.
    """

    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None

    def __call__(self, value: Any) -> Any:
        """Return `value`; raise ValueError when it is out of bounds."""
        if value is None or (isinstance(value, SecretText) and value.is_masked):
            return value
        sized = value.in_clear() if isinstance(value, SecretText) else value
        if self.min_length is not None and len(sized) < self.min_length:
            raise ValueError(f"needs at least {self.min_length}")
        if self.max_length is not None and len(sized) > self.max_length:
            raise ValueError(f"holds more than {self.max_length}")
        is_text = self.pattern is not None and isinstance(sized, str)
        if is_text and not re.fullmatch(self.pattern or "", sized):
            raise ValueError(f"must match {self.pattern}")
        return value


def _validated(value: object, handler: ValidatorFunctionWrapHandler) -> SecretText:
    return value if isinstance(value, SecretText) else SecretText(handler(value))


def _serialised(value: object, info: SerializationInfo[Any]) -> str:
    is_revealing = isinstance(info.context, Mapping) and info.context.get("reveal") is True
    if not is_revealing:
        return MASK  # whatever it is: what nobody validated is still a secret
    if isinstance(value, SecretText):
        return value.in_clear()
    if isinstance(value, str):
        return value  # of `model_copy`, which makes no SecretText of a text
    raise ValueError(f"a secret is made from text, not from {type(value).__name__}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
