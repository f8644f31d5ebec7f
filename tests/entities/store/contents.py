"""What copies of stores are tried with."""

from __future__ import annotations

from hypothesis import strategies as st

from miren.entities.store.api import END_OF_KEYS, NO_LEASE, Put, Store
from miren.entities.store.copying import EVERYTHING

__all__ = ["ODD", "contents", "fill", "held_by"]

#: Values of every form that an export has, and what looks like one.
ODD = {
    "/e/a": b'{"a":1}',
    "/e/b": b'{"b":1,"a":2}',  # not in our order: no JSON of ours
    "/e/c": b'{"a":1.0,"b":[1e3]}',
    "/e/d": b'{"n":18446744073709551616}',
    "/e/e": b"{",
    "/e/f": '["\u2028", "\u00e9"]'.encode(),
    "/p/default": b"nmxw4",
    "/t/lines": b"one\ntwo\r\n\x85\xe2\x80\xa8",
    "/z/bytes": bytes(range(256)),
    "/z/empty": b"",
    "\x01": b"first",
    "\U0010fffe\U0010ffff": b"last",
}

_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


def contents() -> st.SearchStrategy[dict[str, bytes]]:
    """Return what a store may hold."""
    fit = _KEYS.filter(lambda key: not key.startswith(("\0", END_OF_KEYS)))
    return st.dictionaries(fit, st.binary(max_size=9))


async def fill(store: Store, contents: dict[str, bytes]) -> None:
    """Put all of it, and beside it a key with a lease, which no copy has."""
    for key, value in contents.items():
        await store.transact([], [Put(key, value)])
    await store.transact([], [Put("/s/leased", b"gone", await store.grant(600))])


async def held_by(store: Store) -> dict[str, bytes]:
    """Return everything without a lease that a store holds."""
    page = await store.list(EVERYTHING)
    return {item.key: item.value for item in page.items if item.lease == NO_LEASE}
