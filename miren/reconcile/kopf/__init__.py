"""kopf's decorators on this engine, so that handlers written for kopf can be tried here.

    from miren.reconcile import kopf

    @kopf.on.create("kopfexamples")
    async def create_fn(spec, patch, **_):
        patch.status["greeting"] = f"for {spec['duration']}"
        return {"done": True}

    KopfExample = kopf.kind("KopfExample", api="kopf.dev/v1",
                            spec=["duration"], status=["greeting", "create_fn"])
    async with Engine(store, kopf.controllers([KopfExample])) as engine: ...

Handlers are declared by the names of resources, and `controllers` says which kinds these are.
Then each is a handler of a `Registry`, so that queues, back-off, finalizers and what has been
handled are this engine's: levels and no edges. Handlers are given the keyword arguments that they
take. What is not the same stands in docs/howto/coming-from-kopf.md.
"""

from __future__ import annotations

from miren.reconcile.kopf import on
from miren.reconcile.kopf.background import daemon, index, timer
from miren.reconcile.kopf.compiling import controllers
from miren.reconcile.kopf.declared import OperatorRegistry
from miren.reconcile.kopf.errors import ErrorsMode, PermanentError, TemporaryError
from miren.reconcile.kopf.filters import ABSENT, PRESENT, all_, any_, none_, not_
from miren.reconcile.kopf.kinds import kind
from miren.reconcile.kopf.posting import adopt, event, exception, info, warn
from miren.reconcile.kopf.views import Body, Memo, Meta, Patch

__all__ = [
    "ABSENT",
    "PRESENT",
    "Body",
    "ErrorsMode",
    "Memo",
    "Meta",
    "OperatorRegistry",
    "Patch",
    "PermanentError",
    "TemporaryError",
    "adopt",
    "all_",
    "any_",
    "controllers",
    "daemon",
    "event",
    "exception",
    "index",
    "info",
    "kind",
    "none_",
    "not_",
    "on",
    "timer",
    "warn",
]
