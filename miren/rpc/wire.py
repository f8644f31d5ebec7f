"""What both ends of a call agree on: paths, codes, and errors as JSON.

A call is `POST /<package>.<Service>/<Method>` with a JSON object, answered by a JSON object; a
stream is answered by one JSON object a line. Errors have the shape and codes of the Connect
protocol (connectrpc.com/docs/protocol, "Error Codes"), and inside a stream they are a last line
`{"error": {...}}`. A stream with nothing to say sends the line `{}` every `HEARTBEAT` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miren.base import errors
from miren.base.errors import InvalidInput, MirenError, Problem

__all__ = ["HEARTBEAT", "HTTP_STATUS", "TIMEOUT_HEADER", "error_from", "error_to"]

TIMEOUT_HEADER = "Connect-Timeout-Ms"

#: Longest a silent stream stays without a line, in seconds, so that both ends notice a dead peer.
HEARTBEAT = 15.0

HTTP_STATUS: Mapping[str, int] = {
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}

_BY_NAME: Mapping[str, type[MirenError]] = {
    name: kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, MirenError)
}
_BY_CODE: Mapping[str, type[MirenError]] = {
    "invalid_argument": errors.InvalidInput,
    "not_found": errors.NotFound,
    "already_exists": errors.AlreadyExists,
    "aborted": errors.Conflict,
    "failed_precondition": errors.Refused,
    "permission_denied": errors.Refused,
    "deadline_exceeded": errors.DeadlineExceeded,
    "unavailable": errors.Unavailable,
    "resource_exhausted": errors.StoreFull,
    "unknown": errors.OutcomeUnknown,
    "unimplemented": errors.Unimplemented,
    "out_of_range": errors.Compacted,
    "data_loss": errors.StoreReset,
}


def error_to(error: MirenError) -> dict[str, Any]:
    """Return an error as it travels."""
    # A layer's own kind of error travels as the one of the tree that it is.
    name = next(each.__name__ for each in type(error).__mro__ if each.__name__ in _BY_NAME)
    detail: dict[str, Any] = {"type": name}
    if error.hint:
        detail["hint"] = error.hint
    if error.entity:
        detail["entity"] = error.entity
    if isinstance(error, InvalidInput):
        detail["problems"] = [
            {"message": one.message, "path": list(one.path), "hint": one.hint}
            for one in error.problems
        ]
    if isinstance(error, errors.Compacted):
        detail["oldest"] = error.oldest
    return {"code": error.code, "message": error.message, "details": [detail]}


def error_from(body: Mapping[str, Any]) -> MirenError:
    """Return the error that `error_to` sent; of anything else, what its code and message say."""
    code, message = str(body.get("code", "unknown")), str(body.get("message", "no message"))
    detail = _detail(body.get("details"))
    kind = _BY_NAME.get(str(detail.get("type"))) or _BY_CODE.get(code, MirenError)
    hint, entity = detail.get("hint"), detail.get("entity")
    if issubclass(kind, InvalidInput):
        problems = [_problem(one) for one in detail.get("problems", ())]
        return kind(problems or message, hint=hint, entity=entity)
    if issubclass(kind, errors.Compacted):
        return kind(message, oldest=int(detail.get("oldest", 0)))
    return kind(message, hint=hint, entity=entity)


def _detail(details: object) -> Mapping[str, Any]:
    first = details[0] if isinstance(details, list) and details else None
    return first if isinstance(first, Mapping) else {}


def _problem(sent: Mapping[str, Any]) -> Problem:
    return Problem(str(sent["message"]), tuple(sent.get("path", ())), hint=sent.get("hint"))
