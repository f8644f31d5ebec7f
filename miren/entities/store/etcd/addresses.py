"""Where etcd is: endpoints as people write them, and as grpc wants them.

They are `http://10.0.0.1:2379`, `https://etcd-0.example:2379` or `unix:///run/etcd/client.sock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from miren.base.errors import InvalidInput, Problem

__all__ = ["Address", "parse_addresses"]

_HINT = "write http://host:port, https://host:port or unix:///path"


@dataclass(frozen=True, slots=True)
class Address:
    """One endpoint: `text` as it was given, `target` as grpc wants it."""

    text: str
    target: str
    encrypted: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the endpoint that `text` names; raise InvalidInput if it names none."""
        if not isinstance(text, str):
            raise InvalidInput(f"an endpoint is text, not {type(text).__name__}", hint=_HINT)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"endpoint {text!r}: {error}", hint=_HINT) from error
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return cls(text, f"unix:{parts.path}", encrypted=False)
        if parts.scheme not in {"http", "https"} or not host or not port:
            raise InvalidInput(f"endpoint {text!r} is no address of an etcd", hint=_HINT)
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
            raise InvalidInput(f"endpoint {text!r} says more than host and port", hint=_HINT)
        name = f"[{host}]" if ":" in host else host
        return cls(text, f"dns:///{name}:{port}", encrypted=parts.scheme == "https")


def parse_addresses(endpoints: Sequence[str]) -> tuple[Address, ...]:
    """Return all endpoints in their order, each once; raise InvalidInput with all problems."""
    if isinstance(endpoints, str):
        # Its letters would be taken for endpoints.
        raise InvalidInput("the endpoints are a list, not one text", hint=f"write [{endpoints!r}]")
    found: dict[str, Address] = {}
    problems: list[Problem] = []
    for text in endpoints:
        try:
            address = Address.parse(text)
        except InvalidInput as error:
            problems += [Problem(problem.message, hint=error.hint) for problem in error.problems]
        else:
            found.setdefault(address.target, address)
    if problems:
        raise InvalidInput(problems)
    if not found:
        raise InvalidInput("no endpoint of etcd is given", hint=_HINT)
    return tuple(found.values())
