"""Predicates: which changes of an entity wake a controller at all.

    class Web(Controller[App], when=generation_changed | labels_changed): ...

    @watches(Disk, when=on_change("spec.size"))

They are asked before the queue, with what was and what is: `old` is None for what was not known
before, `new` for what has gone. What says that something *changed* is true then; what says how an
entity *is* (`has_labels`, `matches`, `holds`) is true when it is so before or after, so that a
controller hears of what has just left its selection. A first list asks too. That a deletion begins
is never held back, and a predicate that raises counts as true: a reconcile too many does no harm.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import attrgetter
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, overload

from miren.entities.entity import Entity, Metadata
from miren.entities.labels import matches as labels_match
from miren.entities.labels import parse_selector, requirements
from miren.entities.model import Model, wire_names

__all__ = [
    "Predicate",
    "annotations_changed",
    "generation_changed",
    "has_labels",
    "holds",
    "labels_changed",
    "matches",
    "on_change",
    "revision_changed",
]

E_contra = TypeVar("E_contra", bound=Entity[Any, Any], contravariant=True)
E = TypeVar("E", bound=Entity[Any, Any])

AnyEntity = Entity[Model, Model]
Kind = type[Entity[Any, Any]]


class Predicate(Generic[E_contra]):
    """A question about a change. Combine them with `&`, `|` and `~`."""

    def __init__(
        self,
        judge: Callable[[E_contra | None, E_contra | None], bool],
        name: str = "predicate",
        *,
        check: Callable[[Kind], None] = lambda _kind: None,
    ) -> None:
        self._judge = judge
        self._name = name
        self._check = check

    def __call__(self, old: E_contra | None, new: E_contra | None) -> bool:
        """Return whether the change matters. Both None is a mistake of the caller's."""
        return self._judge(old, new)

    def check(self, kind: Kind) -> None:
        """Raise TypeError if it asks for what entities of `kind` do not have."""
        self._check(kind)

    @overload
    def __and__(self: Predicate[AnyEntity], other: Predicate[E], /) -> Predicate[E]: ...
    @overload
    def __and__(self, other: Predicate[E_contra], /) -> Predicate[E_contra]: ...
    def __and__(self, other: Predicate[Any], /) -> Predicate[Any]:
        one, two = self._judge, other._judge  # without a call around each
        return Predicate(
            lambda old, new: one(old, new) and two(old, new),
            f"({self!r} & {other!r})",
            check=partial(_check_both, self, other),
        )

    @overload
    def __or__(self: Predicate[AnyEntity], other: Predicate[E], /) -> Predicate[E]: ...
    @overload
    def __or__(self, other: Predicate[E_contra], /) -> Predicate[E_contra]: ...
    def __or__(self, other: Predicate[Any], /) -> Predicate[Any]:
        one, two = self._judge, other._judge
        return Predicate(
            lambda old, new: one(old, new) or two(old, new),
            f"({self!r} | {other!r})",
            check=partial(_check_both, self, other),
        )

    def __invert__(self) -> Predicate[E_contra]:
        judge = self._judge
        return Predicate(lambda old, new: not judge(old, new), f"~{self._name}", check=self._check)

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is a question: combine predicates with & | ~, not and, or, not")

    def __repr__(self) -> str:
        return self._name


class _State(Predicate[E_contra]):
    """How an entity is, before or after."""

    def __init__(self, test: Callable[[E_contra], bool], name: str) -> None:
        super().__init__(
            lambda old, new: any(test(each) for each in (new, old) if each is not None), name
        )
        self._test = test

    def __invert__(self) -> Predicate[E_contra]:
        test = self._test
        return _State(lambda entity: not test(entity), f"~{self._name}")


def _check_both(one: Predicate[Any], other: Predicate[Any], kind: Kind) -> None:
    one.check(kind)
    other.check(kind)


# -- how an entity is ----------------------------------------------------------------------


def holds(test: Callable[[E], bool]) -> Predicate[E]:
    """Return a predicate of how an entity is: true if it is so before or after the change."""
    return _State(test, getattr(test, "__name__", "holds"))


def has_labels(labels: Mapping[str, str]) -> Predicate[AnyEntity]:
    """Return whether an entity has all these labels, before or after the change."""
    wanted = requirements(dict(labels))
    return _State(
        lambda entity: labels_match(wanted, entity.metadata.labels), f"has_labels({dict(labels)})"
    )


def matches(selector: str) -> Predicate[AnyEntity]:
    """Return whether a selector as kubectl takes it (`"a=b,!c"`) selects it, before or after.

    Raises InvalidInput for what is no selector.
    """
    wanted = parse_selector(selector)
    return _State(
        lambda entity: labels_match(wanted, entity.metadata.labels), f"matches({selector!r})"
    )


# -- what changed --------------------------------------------------------------------------


def _differs(
    select: Callable[[Any], object], old: Entity[Any, Any] | None, new: Entity[Any, Any] | None
) -> bool:
    return old is None or new is None or select(old) != select(new)


#: The spec is another one. Neither labels and annotations nor the status count.
generation_changed: Predicate[AnyEntity] = Predicate(
    partial(_differs, attrgetter("metadata.generation")), "generation_changed"
)
labels_changed: Predicate[AnyEntity] = Predicate(
    partial(_differs, attrgetter("metadata.labels")), "labels_changed"
)
annotations_changed: Predicate[AnyEntity] = Predicate(
    partial(_differs, attrgetter("metadata.annotations")), "annotations_changed"
)
#: Anything was written. What is said in sessions changes without that.
revision_changed: Predicate[AnyEntity] = Predicate(
    partial(_differs, lambda entity: entity.revision), "revision_changed"
)


@overload
def on_change(*selects: str) -> Predicate[AnyEntity]: ...
@overload
def on_change(*selects: str | Callable[[E], object]) -> Predicate[E]: ...
def on_change(*selects: str | Callable[[E], object]) -> Predicate[Any]:
    """Return whether any of these is another than before.

    A select is a function of the entity, or a path: `spec.size`, `metadata.labels.app`. A path
    that the kind does not have is a TypeError where the predicate is declared.
    """
    if not selects:
        raise TypeError("on_change() needs what it looks at: a path or a function")
    return reduce(Predicate.__or__, [_on_change(select) for select in selects])


def _on_change(select: str | Callable[[E], object]) -> Predicate[E]:
    if isinstance(select, str):
        steps = tuple(select.split("."))
        return Predicate(
            partial(_differs, partial(_value_at, steps)),
            f"on_change({select!r})",
            check=partial(_check_path, select),
        )
    name = getattr(select, "__name__", "select")
    return Predicate(partial(_differs, select), f"on_change({name})")


# -- paths ---------------------------------------------------------------------------------


def _value_at(steps: tuple[str, ...], entity: Entity[Any, Any]) -> object:
    """Return what is at a path, None where something on the way is not there."""
    value: object = entity
    for position, step in enumerate(steps):
        if isinstance(value, Mapping):
            return value.get(".".join(steps[position:]))  # keys may have dots: it is all one key
        if isinstance(value, Model):
            value = getattr(value, _attribute(type(value), step) or step, None)
        else:
            value = getattr(value, step, None)
    return value


def _attribute(model: type[Model], step: str) -> str | None:
    """Return the attribute of either spelling, None if there is none."""
    names = wire_names(model)
    if step in names:
        return step
    return next((name for name, wire in names.items() if wire == step), None)


def _check_path(path: str, kind: Kind) -> None:
    first, *steps = path.split(".")
    parts = {"metadata": Metadata, "spec": kind.kind.spec, "status": kind.kind.status}
    if first not in parts:
        raise TypeError(f"on_change({path!r}): a path begins with metadata, spec or status")
    inside: object = parts[first]
    for step in steps:
        model = _model_in(inside)
        if model is None:
            if get_origin(inside) is not None and _is_mapping(inside):
                return
            raise TypeError(f"on_change({path!r}): there is nothing named {step!r} in it")
        name = _attribute(model, step)
        if name is None:
            near = difflib.get_close_matches(step, wire_names(model), n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"on_change({path!r}): {model.__name__} has no {step!r}{meant}")
        inside = model.model_fields[name].annotation


def _model_in(annotation: object) -> type[Model] | None:
    """Return the model that an annotation allows, alone or as one of several."""
    choices = (
        get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    )
    found = (each for each in choices if isinstance(each, type) and get_origin(each) is None)
    return next((each for each in found if issubclass(each, Model)), None)


def _is_mapping(annotation: object) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)
