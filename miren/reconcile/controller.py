"""`Controller`: what people write. Declared in the class line, checked when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, Never, TypeVar, get_args, get_origin, overload

from miren.base.errors import InvalidInput
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.predicates import Predicate
from miren.reconcile.results import Key, Requeue

__all__ = [
    "Controller",
    "Index",
    "Settings",
    "Watch",
    "check_together",
    "index",
    "kinds_of",
    "watches",
]

E = TypeVar("E", bound=Entity[Any, Any])
W = TypeVar("W", bound=Entity[Any, Any])
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a controller's class line says; see `Controller`."""

    concurrency: int = 4
    timeout: float | None = 60.0  # None: the controller sees to its deadlines itself
    finalizer: str | None = None
    owns: tuple[type[Entity[Any, Any]], ...] = ()
    resync: float | None = None
    primary: bool = True
    until_gone: bool = False
    elect: str | None = None
    shards: int | None = None
    scope: Literal["cluster", "node"] = "cluster"
    when: Predicate[Any] | None = None
    owns_when: Mapping[type[Entity[Any, Any]], Predicate[Any]] = field(default_factory=dict)


class Index(Generic[E]):
    """Entities of the controller's kind by values computed from them: `self.by_disk["data"]`.

    Reads the cache. Outside an engine it is empty.
    """

    def __init__(self, lookup: Callable[[str], tuple[E, ...]]) -> None:
        self._lookup = lookup

    def __getitem__(self, value: str) -> tuple[E, ...]:
        return self._lookup(value)


class index(Generic[E]):  # noqa: N801  # a decorator
    """Declare an index: the method says which values an entity is found under."""

    def __init__(self, values: Callable[[Any, E], Iterable[str]]) -> None:
        self.values = values
        self.name: str = values.__name__
        self.__doc__ = values.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> index[E]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Index[E]: ...
    def __get__(self, instance: object | None, owner: type) -> index[E] | Index[E]:
        if instance is None:
            return self
        bound = instance.__dict__.get(f"index:{self.name}")
        return bound if bound is not None else Index(lambda _value: ())


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind whose changes are mapped to keys of this controller's: all of them, or (`gone`) only
    that one is not there any more. Only those for which `when` holds.
    """

    kind: type[Entity[Any, Any]]
    method: str
    gone: bool = False
    when: Predicate[Any] | None = None


Mapper = Callable[[C, W], Iterable[Key[Any]]]


def watches(
    kind: type[W], *, gone: bool = False, when: Predicate[W] | None = None
) -> Callable[[Mapper[C, W]], Mapper[C, W]]:
    """Declare that changes of `kind` concern the entities whose keys the method returns.

    With `gone` it is asked only once an entity has gone, with the last that was seen of it. With
    `when` only of the changes that it holds for.
    """
    if when is not None:
        when.check(kind)

    def mark(method: Mapper[C, W]) -> Mapper[C, W]:
        method.__dict__["miren_watch"] = Watch(kind, method.__name__, gone, when)
        return method

    return mark


class Controller(Generic[E]):
    """Brings entities of one kind to what their spec says.

        class Web(Controller[App], concurrency=16, finalizer="example.dev/web", owns=[Sandbox]):

    `concurrency` keys are reconciled at once, each for at most `timeout` seconds. With a
    `finalizer`, `finalize` is called before an entity goes. Changes of kinds it `owns` wake the
    owner. Every `resync` seconds all keys come by again, behind other work. One controller of a
    kind is `primary`: it says which generation was observed, and its errors are the Ready
    condition. With `until_gone`, `reconcile` is called while an entity is being deleted too.
    `when` says which changes of its kind wake it, see `miren.reconcile.predicates`; `owns` may be
    a mapping of kinds to predicates.

    Several engines share the work of one store. With `elect` only that one works which leads the
    election of this name, whatever is the engine's own. With `shards` the keys are spread over
    engines, in that many slots; all engines must say the same number. The `scope` "node" is for
    what acts on the machine it runs on: it stands for no election, and in an engine that has a
    node it sees only what `spec.node` binds to it, of kinds that index this attribute.
    """

    kind: ClassVar[type[Entity[Any, Any]]]
    settings: ClassVar[Settings] = Settings()
    watched: ClassVar[tuple[Watch, ...]] = ()
    indexes: ClassVar[tuple[index[Any], ...]] = ()

    def __init_subclass__(
        cls,
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        finalizer: str | None = None,
        owns: Sequence[type[Entity[Any, Any]]]
        | Mapping[type[Entity[Any, Any]], Predicate[Any]]
        | None = None,
        resync: float | None = None,
        primary: bool | None = None,
        until_gone: bool | None = None,
        elect: str | None = None,
        shards: int | None = None,
        scope: Literal["cluster", "node"] | None = None,
        when: Predicate[Never] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init_subclass__(**kwargs)
        given = {
            "concurrency": concurrency,
            "timeout": timeout,
            "finalizer": finalizer,
            "owns": None if owns is None else tuple(owns),
            "resync": resync,
            "primary": primary,
            "until_gone": until_gone,
            "elect": elect,
            "shards": shards,
            "scope": scope,
            "when": when,
            "owns_when": None if owns is None else dict(owns) if isinstance(owns, Mapping) else {},
        }
        known = {name: value for name, value in given.items() if value is not None}
        cls.settings = replace(cls.settings, **known)  # type: ignore[arg-type]  # names match
        kind = _kind_of(cls)
        if kind is None:
            return  # generic still: its subclasses say which kind
        cls.kind = kind
        named: dict[str, object] = {}
        for base in reversed(cls.__mro__):
            named.update(vars(base))  # an overriding method counts instead of what it overrides
        members = named.values()
        cls.indexes = tuple(member for member in members if isinstance(member, index))
        found = (getattr(member, "miren_watch", None) for member in members)
        cls.watched = tuple(watch for watch in found if isinstance(watch, Watch))
        _check(cls)

    @property
    def name(self) -> str:
        """The name in logs, and the manager of what it applies."""
        return type(self).__name__.lower()

    def watching(self) -> Sequence[Watch]:
        """Return what else wakes it. Override it where the kinds are known only at run time."""
        return type(self).watched

    async def reconcile(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Bring the world to what `entity` wants; called again until it is so.

        Return None when done, Requeue to be called again. Raise Temporary or Permanent to say
        why it is not done; anything else is retried with back-off.
        """
        raise NotImplementedError

    async def finalize(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Clean up before the entity goes. None lets it go; Requeue keeps it for now."""
        raise NotImplementedError

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Return what is entered before its first reconcile, and left after the last.

        For what it needs while it works, anew each time that an engine takes the work up.
        """
        return nullcontext()

    def forget(self, key: Key[E]) -> None:
        """Be told that an entity is gone, and drop what is kept of it. It must return at once."""

    async def lay_down(self, keys: Sequence[Key[E]]) -> None:
        """Be told that other engines take these up, and return once nothing is done for them."""
        for key in keys:
            self.forget(key)

    def finalizers(self) -> Sequence[str]:
        """Return the finalizers that it takes off entities of its kind, to be told to people."""
        finalizer = type(self).settings.finalizer
        return () if finalizer is None else (finalizer,)

    def troubles(self) -> Sequence[str]:
        """Return what is wrong that no reconcile tells of, in a few lines for `Engine.health`."""
        return ()

    def source(self, client: Client) -> AsyncIterator[Key[E]] | None:
        """Return an iterator of keys that the world outside says to look at, or None.

        It starts when the first list is in the cache, and again whenever it ends or breaks.
        """
        return None


def kinds_of(controller: Controller[Any]) -> tuple[type[Entity[Any, Any]], ...]:
    """Return the kinds that a controller works with, its own first; some may come twice."""
    cls = type(controller)
    return (cls.kind, *cls.settings.owns, *(watch.kind for watch in controller.watching()))


def check_together(controllers: Iterable[Controller[Any]]) -> None:
    """Refuse, as InvalidInput, controllers that would undo each other's work for ever."""
    names: set[str] = set()
    primary: dict[tuple[str, str], str] = {}
    finalizers: dict[tuple[str, str, str], str] = {}
    for controller in controllers:
        name, cls = controller.name, type(controller)
        kind = (cls.kind.kind.domain, cls.kind.kind.name)
        if name in names:
            raise InvalidInput(
                f"there are two controllers named {name!r}",
                hint="the name says who wrote what: give each one its own",
            )
        names.add(name)
        if cls.settings.primary and primary.setdefault(kind, name) != name:
            raise InvalidInput(
                f"{primary[kind]} and {name} are both the primary controller of {kind[1]}",
                hint="one says whether it is Ready; declare the others with `primary=False`",
            )
        for finalizer in controller.finalizers():
            if finalizers.setdefault((*kind, finalizer), name) != name:
                raise InvalidInput(
                    f"{finalizers[(*kind, finalizer)]} and {name} have the same finalizer, "
                    f"{finalizer}",
                    hint="whoever is done first lets the entity go: give each one its own",
                )


def _kind_of(cls: type[Controller[Any]]) -> type[Entity[Any, Any]] | None:
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Controller):
            (kind,) = get_args(base)
            if isinstance(kind, TypeVar):
                return None
            if isinstance(kind, type) and issubclass(kind, Entity):
                return kind
            raise TypeError(f"{cls.__name__}: Controller[{kind!r}] needs an entity class")
    if hasattr(cls, "kind"):
        return cls.kind
    raise TypeError(f"class {cls.__name__} must derive from Controller[<Kind>]")


def _check(cls: type[Controller[Any]]) -> None:
    """Refuse what could only fail later, at the first event."""
    _check_settings(cls)
    for kind, predicate in ((cls.kind, cls.settings.when), *cls.settings.owns_when.items()):
        if predicate is not None:
            predicate.check(kind)
    for name in ("reconcile", "finalize"):
        method = getattr(cls, name)
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"{cls.__name__}.{name} must be `async def`")
        if len(inspect.signature(method).parameters) != 3:
            raise TypeError(f"{cls.__name__}.{name} must take (self, ctx, entity)")
    has_finalize = cls.finalize is not Controller.finalize
    if has_finalize != (cls.settings.finalizer is not None):
        raise TypeError(
            f'{cls.__name__}: `finalizer="<domain>/<name>"` and `async def finalize` go together'
        )
    if cls.settings.finalizer is not None and "/" not in cls.settings.finalizer:
        raise TypeError(f"{cls.__name__}: finalizer must be '<domain>/<name>'")


def _check_settings(cls: type[Controller[Any]]) -> None:
    settings = cls.settings
    if settings.concurrency < 1:
        raise TypeError(f"{cls.__name__}: concurrency must be at least 1")
    if settings.until_gone and settings.finalizer is not None:
        raise TypeError(f"{cls.__name__}: a finalizer and until_gone exclude each other")
    if settings.shards is not None and settings.shards < 1:
        raise TypeError(f"{cls.__name__}: shards must be at least 1")
    shared = [name for name in ("elect", "shards") if getattr(settings, name) is not None]
    if settings.scope not in ("cluster", "node"):
        raise TypeError(f'{cls.__name__}: scope must be "cluster" or "node"')
    if settings.scope == "node":
        shared.append('scope="node"')
    if len(shared) > 1:
        raise TypeError(f"{cls.__name__}: {' and '.join(shared)} exclude each other")
    for name, seconds in (("timeout", settings.timeout), ("resync", settings.resync)):
        if seconds is not None and seconds <= 0:
            raise TypeError(f"{cls.__name__}: {name} must be more than 0 seconds")
    for kind in settings.owns:
        if not issubclass(kind, Entity):
            raise TypeError(f"{cls.__name__}: owns=[{kind.__name__}] needs entity classes")
