"""A kopf operator: `API=http://127.0.0.1:8001 kopf run kopf_operator.py`."""

from __future__ import annotations

import os
import sys
from typing import Any

import kopf  # type: ignore[import-not-found]


@kopf.on.login()  # type: ignore[untyped-decorator]  # kopf is not here
def login(**_: Any) -> Any:
    return kopf.ConnectionInfo(server=os.environ["API"])


@kopf.on.create("example.dev", "v1", "greetings")  # type: ignore[untyped-decorator]
def created(body: Any, spec: Any, patch: Any, **_: Any) -> None:
    patch.status["shout"] = spec["text"].upper()
    kopf.info(body, reason="Greeted", message="by kopf")


@kopf.on.update("example.dev", "v1", "greetings", field="spec.text")  # type: ignore[untyped-decorator]
def updated(new: Any, patch: Any, **_: Any) -> None:
    patch.status["shout"] = new.upper()


@kopf.on.delete("example.dev", "v1", "greetings")  # type: ignore[untyped-decorator]
def deleted(name: str, **_: Any) -> None:
    sys.stdout.write(f"deleted {name}\n")
    sys.stdout.flush()
