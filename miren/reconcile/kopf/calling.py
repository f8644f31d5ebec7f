"""One call of a kopf handler: what it is given, and what becomes of what it says."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from miren.base.errors import Fenced, MirenError
from miren.entities.entity import Entity
from miren.entities.model import wire_names
from miren.entities.reading import read
from miren.reconcile.context import Context
from miren.reconcile.handlers import Change, is_async
from miren.reconcile.kopf.declared import Declared, Function, Reason
from miren.reconcile.kopf.errors import ErrorsMode, PermanentError, TemporaryError
from miren.reconcile.kopf.posting import CURRENT
from miren.reconcile.kopf.views import Body, Memo, Patch, diff, essence, look_at
from miren.reconcile.results import Key, Permanent, Temporary

__all__ = ["Calling", "Memories", "Memory", "call_function"]

log = logging.getLogger("miren.kopf")


@dataclass(slots=True)
class Attempt:
    """A handler that is not through with a generation: since when, and how often it failed."""

    generation: int
    started: datetime
    failures: int = 0


@dataclass(slots=True)
class Memory:
    """What is kept of an entity while this process works on it."""

    uid: str
    memo: Memo
    attempts: dict[str, Attempt] = field(default_factory=dict)  # of handlers not through


class Memories:
    """The memories of all entities, and what handlers of one engine share."""

    def __init__(self) -> None:
        self.shared = Memo()
        self.indexes: dict[str, Mapping[Any, Any]] = {}
        self._known: dict[tuple[object, Key[Any]], Memory] = {}

    def of(self, entity: Entity[Any, Any]) -> Memory:
        """Return the memory of an entity; a new one when that has been made anew."""
        at = (type(entity), Key.of(entity))
        known = self._known.get(at)
        if known is None or known.uid != entity.uid:
            known = self._known[at] = Memory(entity.uid, copy(self.shared))
        return known

    def forget(self, kind: type[Entity[Any, Any]], key: Key[Any]) -> None:
        """Drop what is kept of an entity that is gone, or another's."""
        self._known.pop((kind, key), None)


class Calling:
    """Calls one handler. It is what our own registry is given in the handler's place."""

    def __init__(self, declared: Declared, memories: Memories) -> None:
        self.declared = declared
        self._memories = memories

    def select(self, entity: Entity[Any, Any]) -> Any:
        """Return what must differ for a handler of updates to be called."""
        body, path = Body.of(entity), self.declared.filters.field
        return essence(body) if path is None else look_at(body, path)

    def fits(self, entity: Entity[Any, Any]) -> bool:
        """Return whether the filters hold of an entity as it is. Raises what they raise."""
        return self.declared.filters.fit(self._about(entity))

    def ask(self, entity: Entity[Any, Any]) -> Any:
        """Return what an index's function says of an entity, None for one it is not for."""
        kwargs = self._about(entity)
        if not self.declared.filters.fit(kwargs):
            return None
        return self.declared.function(**fitting(self.declared.function, kwargs))

    async def __call__(self, ctx: Context[Any], subject: Any) -> None:
        """Call the handler, if its filters fit, and apply what it says."""
        if not isinstance(subject, Change):
            await self._call(ctx, subject, self._occasion(subject))
            return
        now, is_first = subject.new, subject.is_first
        if is_first and (self.declared.reason is Reason.UPDATE or now is None):
            return  # that it was created is no update
        reason = "create" if is_first else "update"
        change = {"old": subject.old, "new": now, "diff": diff(subject.old, now)}
        await self._call(ctx, subject.entity, {"reason": reason, **change})

    async def run(self, ctx: Context[Any], entity: Entity[Any, Any], stopped: object) -> None:
        """Run a daemon's function until it returns. Raises what it raises; see `retries`."""
        memory, retries = self._memories.of(entity), self.declared.retries
        try:
            await self._call(ctx, entity, {"stopped": stopped})
        except Permanent:
            raise
        except Exception as error:
            attempt = memory.attempts.get(self.declared.name)
            failures = 0 if attempt is None else attempt.failures
            if retries is not None and failures >= retries:
                del memory.attempts[self.declared.name]
                told = f"{self.declared.id} failed {failures} times, at last with: {error}"
                raise PermanentError(told) from error
            raise

    async def tell(self, ctx: Context[Any], entity: Entity[Any, Any], type: str | None) -> None:
        """Call a handler of events; what it raises is logged."""
        event = {"type": type, "object": Body.of(entity)}
        try:
            await self._call(ctx, entity, {"event": event, "type": type})
        except Fenced:
            raise
        except Exception as error:
            ctx.log.warning("handler failed", extra={"id": self.declared.id}, exc_info=error)

    # -- what it is given ------------------------------------------------------------------

    def _occasion(self, entity: Entity[Any, Any]) -> dict[str, Any]:
        match self.declared.reason:
            case Reason.CREATE:
                new = self.select(entity)
                return {"reason": "create", "old": None, "new": new, "diff": diff(None, new)}
            case Reason.DELETE | Reason.RESUME as reason:
                now = self.select(entity)
                return {"reason": str(reason), "old": now, "new": now, "diff": ()}
            case _:
                return {}

    def _about(self, entity: Entity[Any, Any]) -> dict[str, Any]:
        body = Body.of(entity)
        return {
            **self._memories.indexes,
            "body": body,
            "meta": body.meta,
            "spec": body.spec,
            "status": body.status,
            "labels": body.meta.labels,
            "annotations": body.meta.annotations,
            "name": entity.name,
            "namespace": body.meta.namespace,
            "uid": entity.uid,
            "resource": entity.kind,
            "param": self.declared.param,
            "memo": self._memories.of(entity).memo,
            "logger": log,
        }

    # -- what becomes of it ----------------------------------------------------------------

    async def _call(
        self, ctx: Context[Any], entity: Entity[Any, Any], occasion: Mapping[str, Any]
    ) -> None:
        kwargs = {**self._about(entity), "logger": ctx.log, "ctx": ctx, **occasion}
        if "stopped" not in occasion and not self.declared.filters.fit(kwargs):
            return
        name, memory, patch = self.declared.name, self._memories.of(entity), Patch()
        attempt = memory.attempts.get(name)
        if attempt is None or attempt.generation != entity.metadata.generation:
            attempt = Attempt(entity.metadata.generation, ctx.now())
            memory.attempts[name] = attempt
        runtime = ctx.now() - attempt.started
        kwargs |= {"patch": patch, "retry": attempt.failures, "runtime": runtime}
        kwargs["started"] = attempt.started
        CURRENT.set((ctx, kwargs["body"]))
        try:
            self._check_time(runtime.total_seconds())
            result = await self._called(ctx, kwargs)
        except asyncio.CancelledError:
            attempt.failures += 1  # its time was over, or it is to stop
            raise
        except Exception as error:
            attempt.failures += 1
            if isinstance(error, Permanent):
                memory.attempts.pop(name, None)
            await self._apply(ctx, entity, patch)
            raise
        memory.attempts.pop(name, None)
        self._take(ctx, entity, patch, result)
        await self._apply(ctx, entity, patch)

    def _check_time(self, runtime: float) -> None:
        timeout = self.declared.timeout
        if timeout is not None and runtime >= timeout:
            raise PermanentError(f"{self.declared.id} was not through after {timeout:g} s")

    async def _called(self, ctx: Context[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what the handler returns; raise what its `errors` and `backoff` make of it."""
        declared = self.declared
        try:
            return await call_function(declared.function, kwargs, ctx)
        except (Temporary, Permanent, TimeoutError, Fenced):
            raise
        except Exception as error:
            if declared.errors is ErrorsMode.IGNORED:
                ctx.log.warning("handler failed", extra={"id": declared.id}, exc_info=error)
                return None
            words = error.message if isinstance(error, MirenError) else str(error)
            told = f"{type(error).__name__}: {words}"
            if declared.errors is ErrorsMode.PERMANENT:
                raise PermanentError(told) from error
            if declared.backoff is not None:
                raise TemporaryError(told, delay=declared.backoff) from error
            raise

    def _take(
        self, ctx: Context[Any], entity: Entity[Any, Any], patch: Patch, result: Any
    ) -> None:
        """Put a result beside what the handler wants in the status, if it has a place there."""
        if result is None:
            return
        if self.declared.id in wire_names(entity.kind.status).values():
            patch.status.setdefault(self.declared.id, result)
        else:
            ctx.log.warning(
                "the status has no attribute for this result", extra={"id": self.declared.id}
            )

    async def _apply(self, ctx: Context[Any], entity: Entity[Any, Any], patch: Patch) -> None:
        status = patch.pop("status", None)
        if status:
            model = entity.kind.status
            document = ctx.status.model_dump(mode="json", exclude_none=True)
            ctx.status = read(model, _merged(document, status), path=("status",))
        rest = {name: value for name, value in patch.items() if value}
        if rest:
            await ctx.client.patch(type(entity), entity.name, rest)


def _merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document after a merge patch."""
    found = dict(document)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            known = found.get(key)
            found[key] = _merged(known if isinstance(known, Mapping) else {}, value)
        else:
            found[key] = value
    return found


def fitting(function: Function, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return those of the arguments that a function takes."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return kwargs
    return {name: kwargs[name] for name in parameters if name in kwargs}


async def call_function(
    function: Function, kwargs: Mapping[str, Any], ctx: Context[Any] | None = None
) -> Any:
    """Return what a function returns, in a thread unless it is async.

    When this is cancelled the thread is waited for: nothing else may begin beside it.
    """
    given = fitting(function, kwargs)
    if is_async(function):
        return await function(**given)
    call = partial(function, **given)
    if ctx is not None:
        running = ctx.in_thread(call)
    else:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(None, copy_context().run, call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
