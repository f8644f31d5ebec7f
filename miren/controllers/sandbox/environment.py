"""A container's environment: texts from the spec, and keys of Secrets read just before it starts.

Entities only ever hold the names of secrets. Their texts go from `Secrets` straight into what the
runtime is told, and are not read again before the next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from miren.entities.gen import Sandbox
from miren.entities.secrets import SecretText
from miren.reconcile.results import Permanent, Temporary

__all__ = ["Secrets", "environment", "secrets_named"]

_LOOK_AGAIN = 30.0  # seconds; a Secret that appears is noticed at once


class Secrets(Protocol):
    """Reads secrets in the clear, on behalf of the node that starts a container."""

    async def read(self, project: str, name: str) -> Mapping[str, SecretText] | None:
        """Return the texts of a Secret by their keys, None when there is no such Secret."""
        ...


def secrets_named(sandbox: Sandbox) -> Iterator[str]:
    """Yield the name of each Secret that a container of the sandbox takes something from."""
    for container in sandbox.spec.containers:
        for value in container.env.values():
            if value.secret is not None:
                yield value.secret.partition("/")[0]


async def environment(sandbox: Sandbox, secrets: Secrets | None) -> Mapping[str, str]:
    """Return the environment of the sandbox's first container, in the clear.

    Raises Temporary (SecretMissing) while a Secret or its key is not there, Permanent where
    this node cannot read secrets at all.
    """
    found: dict[str, Mapping[str, SecretText] | None] = {}
    result: dict[str, str] = {}
    for variable, value in sandbox.spec.containers[0].env.items():
        if value.secret is None:
            result[variable] = value.value or ""
            continue
        if secrets is None:
            raise Permanent(
                f"{variable} comes from the secret {value.secret}: secrets cannot be read here",
                reason="Unsupported",
            )
        name, _, key = value.secret.partition("/")
        if name not in found:
            found[name] = await secrets.read(sandbox.project, name)
        result[variable] = _text(variable, name, key, found[name])
    return result


def _text(variable: str, name: str, key: str, data: Mapping[str, SecretText] | None) -> str:
    if data is not None and key in data:
        return data[key].reveal()
    what = f"secret {name!r} does not exist" if data is None else f"secret {name!r} has no {key!r}"
    raise Temporary(f"{variable}: {what}", reason="SecretMissing", after=_LOOK_AGAIN)
