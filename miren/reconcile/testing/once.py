"""One reconcile of one entity, for the unit tests of a controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.events import EntityEvent
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.attempt import Attempts
from miren.reconcile.controller import Controller
from miren.reconcile.recorder import Recorder
from miren.reconcile.registry import Registry
from miren.reconcile.results import Requeue

__all__ = ["Once", "reconcile_once"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True)
class Once(Generic[E]):
    """What one reconcile left: the entity as stored (its last state when it is gone), what comes
    next, a client to look at what was made, and the events told, those of an error included.
    """

    entity: E
    requeue: Requeue | None
    error: Exception | None
    client: Client
    is_gone: bool = False
    events: Sequence[EntityEvent] = ()


async def reconcile_once(
    controller: Controller[E] | Registry,
    entity: E,
    *,
    existing: Iterable[Entity[Any, Any]] = (),
    now: datetime | None = None,
) -> Once[E]:
    """Store `entity` (its status too) and `existing`, reconcile it once, and tell what is left.

    Of a registry those handlers are called that are for the entity's kind.

    The finalizer is put on first, as the engine does. `entity` with a deletion timestamp is
    finalized. Errors the controller raises are in `error`, not raised.
    """
    if isinstance(controller, Registry):
        controller = _of_kind(controller, type(entity))
    clock = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
    cls = type(controller)
    kinds = Kinds([type(entity), *cls.settings.owns, *(type(item) for item in existing)])
    for watch in controller.watching():
        kinds.add(watch.kind)
    # A memory store holds nothing that must be given back: it lives as long as `Once.client`.
    store = await MemoryStore().__aenter__()
    client = StoreClient(store=store, kinds=kinds, now=clock)
    for item in existing:
        await _store(client, item)
    stored = await _store(client, entity, finalizer=cls.settings.finalizer)
    recorder = Recorder(client)
    attempt = await Attempts(controller, client, now=clock, note=recorder.note).make(stored)
    await recorder.drain(1.0)
    outcome = attempt.outcome
    project = stored.project or None
    found = await client.get(type(entity), entity.name, project=project, default=None)
    left = stored if found is None else found
    return Once(
        left,
        outcome.requeue,
        outcome.error,
        client,
        is_gone=found is None,
        events=await client.events(type(entity), entity.name, project=project),
    )


def _of_kind(registry: Registry, kind: type[E]) -> Controller[E]:
    found = [each for each in registry.controllers() if type(each).kind is kind]
    if not found:
        raise TypeError(f"{registry!r} has no handlers for {kind.__name__}")
    return found[0]


async def _store(client: StoreClient, entity: E, finalizer: str | None = None) -> E:
    names = entity.metadata.finalizers
    if finalizer is not None and finalizer not in names:
        names = (*names, finalizer)
    stored = await client.create(entity.with_metadata(finalizers=names))
    if entity.status != entity.kind.status() or entity.conditions:
        said: Mapping[str, Any] = {
            name: getattr(entity, name)
            for name in ("status", "conditions", "observed_generation", "handled")
        }
        stored = await client.update_status(replace(stored, **said))
    if entity.is_deleting:
        stored = await client.delete(type(entity), entity.name, project=stored.project or None)
    return stored
