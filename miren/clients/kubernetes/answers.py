"""What the API's refusals mean in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from miren.base.errors import (
    AlreadyExists,
    Compacted,
    Conflict,
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Problem,
    Refused,
    Unavailable,
    Unimplemented,
)

__all__ = ["Answer", "error_of", "is_of_object", "status_error"]

_TEXT = 300  # characters of an answer that is no Status
_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status code and its whole body."""

    code: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.code < 300

    def document(self, *, writes: bool = True) -> dict[str, Any]:
        """Return the body as plain data.

        Raises OutcomeUnknown when it is something else, as what stands before an API may answer;
        Unavailable unless the request `writes`.
        """
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            kind = OutcomeUnknown if writes else Unavailable
            raise kind(f"the API answered {self.code}, and not with an object")
        return found

    def status(self) -> Mapping[str, Any]:
        """Return the Status object in the body, or one that quotes what is there instead."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict) and found.get("kind") == "Status":
            return found
        text = self.body[:_TEXT].decode(errors="replace").strip()
        return {"message": text or f"the API answered {self.code}"}


def error_of(answer: Answer, *, about: str, writes: bool = False) -> MirenError:
    """Return the error that an answer stands for.

    `about` is the `kind/name` that was asked for. `writes` says that the request changed
    something, if it was carried out: where that is open, nobody may just try again.
    """
    return status_error(answer.code, answer.status(), about=about, writes=writes)


def status_error(
    code: int, status: Mapping[str, Any], *, about: str, writes: bool = False
) -> MirenError:
    """Return the error that a Status of the API stands for; see `error_of`."""
    message, reason = str(status.get("message", code)), status.get("reason")
    told = f"{about}: {message}"
    match code:
        case HTTPStatus.NOT_FOUND:
            return _not_found(status, told, about, writes=writes)
        case HTTPStatus.CONFLICT if reason == "AlreadyExists":
            return AlreadyExists(told, entity=about)
        case HTTPStatus.CONFLICT:
            return Conflict(told, entity=about)
        case HTTPStatus.UNPROCESSABLE_ENTITY if _is_forbidden(status):
            return Refused(told, entity=about)
        case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.BAD_REQUEST:
            return InvalidInput([*_problems(status)] or told, entity=about)
        case HTTPStatus.UNAUTHORIZED:
            return Refused(told, entity=about, hint="the API does not know these credentials")
        case HTTPStatus.FORBIDDEN:
            return Refused(told, entity=about, hint="see the RBAC rules of this account")
        case HTTPStatus.GONE:
            return Compacted(told, oldest=0)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return Unimplemented(told, entity=about)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Unavailable(told, entity=about)
    if code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidInput(told, entity=about)
    # An API that does not do it says so in a Status. A proxy may have lost the answer.
    is_undone = code == HTTPStatus.SERVICE_UNAVAILABLE and status.get("kind") == "Status"
    return (OutcomeUnknown if writes and not is_undone else Unavailable)(told, entity=about)


def is_of_object(status: Mapping[str, Any]) -> bool:
    """Return whether a refusal is about one object, and not about the path as such."""
    return bool(_details(status).get("name"))


def _not_found(status: Mapping[str, Any], told: str, about: str, *, writes: bool) -> MirenError:
    if not is_of_object(status):
        # It may be installed any moment: whoever follows the kind goes on asking.
        hint = "install its CustomResourceDefinition: `miren schema export --crd`"
        return Unavailable(f"the API does not serve {about}", entity=about, hint=hint)
    if writes and _details(status).get("kind") == "namespaces":
        return Refused(told, entity=about, hint="a project is a namespace: make it first")
    return NotFound(told, entity=about)


def _is_forbidden(status: Mapping[str, Any]) -> bool:
    """Return whether all that is wrong is the object's state, which forbids it."""
    reasons = {cause.get("reason") for cause in _details(status).get("causes") or ()}
    return reasons == {"FieldValueForbidden"}


def _problems(status: Mapping[str, Any]) -> Iterator[Problem]:
    for cause in _details(status).get("causes") or ():
        message = str(cause.get("message", cause.get("reason", "")))
        yield Problem(message, tuple(_path(str(cause.get("field", "")))))


def _path(field: str) -> Iterator[str | int]:
    """Yield the steps of a path as the API writes it: `spec.ports[0].port`, `labels[a.b/c]`."""
    for match in _STEP.finditer(field):
        name, inside = match.groups()
        yield name if name is not None else int(inside) if inside.isdecimal() else inside


def _details(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = status.get("details") or {}
    return found
