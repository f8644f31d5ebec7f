"""Continue tokens: where a list goes on, at which revision, and of which selection.

Opaque to whoever holds one, and checked when it comes back: a token of another selection would
quietly skip entities.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from miren.base.errors import InvalidInput

__all__ = ["Token"]


class _Selected(Protocol):
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Token:
    """A list at `revision` goes on after the key `cursor`."""

    revision: int
    cursor: str
    digest: str

    def __str__(self) -> str:
        plain = orjson.dumps([self.revision, self.cursor, self.digest])
        return base64.urlsafe_b64encode(plain).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, selector: _Selected) -> Token:
        """Return the token of a text; raise InvalidInput unless it is one of this selection."""
        try:
            plain: Any = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, binascii.Error) as error:
            raise InvalidInput("this is no token that a list returned") from error
        match plain:
            case [int(revision), str(cursor), str(digest)] if revision > 0:
                if digest != selector.digest:
                    raise InvalidInput(
                        "this token is of another list",
                        hint="go on with the kind and the selection that it began with",
                    )
                return cls(revision, cursor, digest)
        raise InvalidInput("this is no token that a list returned")
