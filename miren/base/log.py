"""Logging for programs of this project: structured lines, or plain ones for people.

Libraries only ever `logging.getLogger(__name__)`; the program that owns the process calls
`configure` once. Fields go in `extra=`, never into the text, so that they can be searched.

What libraries have to say below `info` is about themselves (grpc's of every call), and would bury
what is ours, so `debug` is for the loggers below `miren`. Whoever wants it of another one sets
that logger's own level.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["configure"]

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, format: Literal["text", "json"]) -> None:
    """Send the log lines of this process to standard error, from `level` on.

    Of loggers that are not ours and have no level of their own, nothing below `info`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("miren").setLevel(root.level)
    root.setLevel(max(root.level, logging.INFO))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _KNOWN}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value!r}" for name, value in _fields(record).items())
        text = f"{_time(record)} {record.levelname:7} {record.getMessage()}{fields}"
        if record.exc_info and record.levelno >= logging.ERROR:
            text += "\n" + self.formatException(record.exc_info)
        return text
