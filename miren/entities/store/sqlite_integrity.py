"""Whether a SQLite store's file is whole, found out before anything is written to it.

SQLite's own `quick_check` looks at the pages; what it cannot know is what our tables promise each
other, which is checked as well. All of it takes time with the size of the file (roughly a second
for a gigabyte that is in memory), so it ends after `CHECK_SECONDS`: a large store is checked as
far as that goes and opens. What was not looked at is found when it is read, as everywhere.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import apsw

from miren.base.errors import Refused

__all__ = ["CHECK_SECONDS", "check_whole", "damaged"]

log = logging.getLogger(__name__)

#: How long the start of a store may wait for its check.
CHECK_SECONDS = 2.0

# Steps of SQLite's machine between two looks at the clock: well below a millisecond.
_STEPS = 10_000

_NUMBERS = """
SELECT (SELECT v FROM meta WHERE k = 'last_revision'), (SELECT v FROM meta WHERE k = 'compacted'),
       (SELECT coalesce(max(id), 0) >> 16 FROM kv)
"""

# Each finds a row where there should be none.
_BROKEN = {
    "a key points to no value of its own": """
SELECT 1 FROM cur LEFT JOIN kv ON kv.id = cur.id
WHERE kv.key IS NOT cur.key OR kv.value IS NULL LIMIT 1
""",
    "a lease holds a key that is not attached to it": """
SELECT 1 FROM leased LEFT JOIN lease ON lease.id = leased.lease
    LEFT JOIN cur ON cur.key = leased.key LEFT JOIN kv ON kv.id = cur.id
WHERE lease.id IS NULL OR kv.lease IS NOT leased.lease LIMIT 1
""",
    "a key is attached to a lease that does not hold it": """
SELECT 1 FROM cur JOIN kv ON kv.id = cur.id WHERE kv.lease <> 0 AND NOT EXISTS (
    SELECT 1 FROM leased WHERE leased.lease = kv.lease AND leased.key = cur.key
) LIMIT 1
""",
}


def check_whole(connection: apsw.Connection, path: Path, *, seconds: float) -> None:
    """Raise Refused when a store that has leases is found damaged within `seconds`."""
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        _check(connection, path)
    except apsw.InterruptError:
        log.info("the store is too large to be checked whole at its start")
    finally:
        connection.set_progress_handler(None)


def damaged(path: Path, what: object) -> Refused:
    """Return the error of a store that cannot be trusted any more."""
    return Refused(
        f"the store {path} is damaged: {what}",
        hint="`miren store restore FILE` makes it anew from a snapshot; this file stays as it is",
    )


def _check(connection: apsw.Connection, path: Path) -> None:
    newest, compacted, recorded = next(connection.execute(_NUMBERS))
    if newest is None or compacted is None or not max(compacted, recorded) <= newest:
        numbers = f"newest {newest}, compacted {compacted}, recorded {recorded}"
        raise damaged(path, f"its revisions contradict each other ({numbers})")
    said = connection.execute("PRAGMA quick_check(1)").get
    if said != "ok":
        raise damaged(path, str(said).strip())
    for what, query in _BROKEN.items():
        if connection.execute(query).get is not None:
            raise damaged(path, what)
