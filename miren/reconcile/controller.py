"""`Controller`: what people write. Declared in the class line, checked when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin, overload

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.results import Key, Requeue

__all__ = ["Controller", "Index", "Settings", "Watch", "index", "watches"]

E = TypeVar("E", bound=Entity[Any, Any])
W = TypeVar("W", bound=Entity[Any, Any])
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a controller's class line says; see `Controller`."""

    concurrency: int = 4
    timeout: float = 60.0
    finalizer: str | None = None
    owns: tuple[type[Entity[Any, Any]], ...] = ()
    resync: float | None = None
    primary: bool = True
    until_gone: bool = False


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
        self.name = values.__name__
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
    that one is not there any more.
    """

    kind: type[Entity[Any, Any]]
    method: str
    gone: bool = False


Mapper = Callable[[C, W], Iterable[Key[Any]]]


def watches(kind: type[W], *, gone: bool = False) -> Callable[[Mapper[C, W]], Mapper[C, W]]:
    """Declare that changes of `kind` concern the entities whose keys the method returns.

    With `gone` it is asked only once an entity has gone, with the last that was seen of it.
    """

    def mark(method: Mapper[C, W]) -> Mapper[C, W]:
        method.__dict__["miren_watch"] = Watch(kind, method.__name__, gone)
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
        owns: Sequence[type[Entity[Any, Any]]] | None = None,
        resync: float | None = None,
        primary: bool | None = None,
        until_gone: bool | None = None,
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

    def source(self, client: Client) -> AsyncIterator[Key[E]] | None:
        """Return an iterator of keys that the world outside says to look at, or None.

        It starts when the first list is in the cache, and again whenever it ends or breaks.
        """
        return None


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
    for name, seconds in (("timeout", settings.timeout), ("resync", settings.resync)):
        if seconds is not None and seconds <= 0:
            raise TypeError(f"{cls.__name__}: {name} must be more than 0 seconds")
    for kind in settings.owns:
        if not issubclass(kind, Entity):
            raise TypeError(f"{cls.__name__}: owns=[{kind.__name__}] needs entity classes")
