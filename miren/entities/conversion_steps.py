"""The ways in which two versions of a kind differ, one class each. See `conversions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from fractions import Fraction
from math import ceil
from typing import Any, Protocol

from miren.base.pointers import pointer_of, steps_of
from miren.base.quantities import Duration, Quantity
from miren.entities.document_paths import (
    ABSENT,
    EACH,
    Steps,
    dotted,
    holders,
    leads,
    parse,
    put,
    replace_at,
    take,
    thawed,
)
from miren.entities.kept_aside import Kept, annotation_pointer, digest, keep, pop_kept

__all__ = ["Added", "Move", "Opaque", "Removed", "Step", "Unit", "Values"]

Document = dict[str, Any]
Field = tuple[Steps, str]

_EXACT = Context(prec=200)


class Step(Protocol):
    """One difference between two versions."""

    def apply(self, document: Document) -> None:
        """Convert a document, plain data, in place."""
        ...

    def convert_pointer(self, pointer: str) -> str | None:
        """Return where a field is afterwards, None when that cannot be told."""
        ...

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return a field selector afterwards, None when nothing selects the same entities."""
        ...

    def inverse(self) -> Step:
        """Return the step back."""
        ...


@dataclass(frozen=True)
class Move:
    """An attribute is elsewhere, or has another name. Inside a list or map: of the same one."""

    old: str
    new: str
    _stem: Steps = field(init=False, repr=False, compare=False)
    _tails: tuple[Steps, Steps] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        old, new = parse(self.old), parse(self.new)
        size = max((at + 1 for at, step in enumerate(old) if step == EACH), default=1)
        if old[:size] != new[:size] or EACH in new[size:] or not old[size:] or not new[size:]:
            raise ValueError(f"cannot move {self.old} to {self.new}: not of the same element")
        object.__setattr__(self, "_stem", old[:size])
        object.__setattr__(self, "_tails", (old[size:], new[size:]))

    def apply(self, document: Document) -> None:
        """Move what is there."""
        old, new = self._tails
        for holder in holders(document, self._stem):
            value = take(holder.value, old)
            if value is not ABSENT:
                put(holder.value, new, value)

    def convert_pointer(self, pointer: str) -> str | None:
        """Return the pointer, moved when it leads to the attribute or into it."""
        steps, size = steps_of(pointer), len(self._stem)
        old, new = self._tails
        if not leads(steps, self._stem + old):
            return pointer
        return pointer_of([*steps[:size], *new, *steps[size + len(old) :]])

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return the path moved, and the text as it is."""
        old, new = dotted(self.old), dotted(self.new)
        return (new + steps[len(old) :] if leads(steps, old) else steps), text

    def inverse(self) -> Move:
        """Return the move back."""
        return Move(self.new, self.old)


@dataclass(frozen=True)
class Values:
    """Texts have other names, such as an enum's choices. Other texts stay what they are."""

    path: str
    values: Mapping[str, str]
    _whole: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parse(self.path)
        if len(set(self.values.values())) != len(self.values):
            raise ValueError(f"{self.path}: two values become one, and could not be told apart")
        object.__setattr__(self, "_whole", _bijection(self.values))

    def apply(self, document: Document) -> None:
        """Rename every value at the path."""
        replace_at(document, parse(self.path), self._renamed)

    def _renamed(self, value: Any) -> Any:
        return self._whole.get(value, value) if isinstance(value, str) else value

    def convert_pointer(self, pointer: str) -> str | None:
        """Return the pointer: fields stay where they are."""
        return pointer

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return the other name, where it is this path that is selected on."""
        return steps, self._renamed(text) if steps == dotted(self.path) else text

    def inverse(self) -> Values:
        """Return the names back."""
        return Values(self.path, {new: old for old, new in self.values.items()})


@dataclass(frozen=True)
class Unit:
    """A whole number of units is a quantity (`Gi`) or, with `span`, a duration (`s`).

    Backwards, what is no whole number is rounded up, and its exact text kept aside.
    """

    path: str
    unit: str
    span: bool = False
    backwards: bool = False

    def __post_init__(self) -> None:
        if parse(self.path)[-1] == EACH:
            raise ValueError(f"{self.path}: a unit belongs to an attribute, not to elements")
        self._text(1)

    def apply(self, document: Document) -> None:
        """Write numbers as texts or, backwards, texts as numbers."""
        *above, last = parse(self.path)
        kept = {} if self.backwards else pop_kept(document, self.path)
        inexact: Kept = {}
        for holder in holders(document, tuple(above)):
            value, at = holder.value.get(last), f"{holder.pointer}/{last}"
            if self.backwards and isinstance(value, str):
                holder.value[last] = number = self._count(value)
                if self._text(number) != value:
                    inexact[at] = ("", value)
            elif not self.backwards and isinstance(value, int):
                exact = kept.get(at, ("", None))[1]
                holder.value[last] = exact if self._count(exact) == value else self._text(value)
        keep(document, self.path, inexact)

    def convert_pointer(self, pointer: str) -> str | None:
        """Return the pointer: fields stay where they are."""
        return pointer

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return None for this path: several amounts round to one number."""
        return None if steps == dotted(self.path) else (steps, text)

    def inverse(self) -> Unit:
        """Return the same backwards."""
        return replace(self, backwards=not self.backwards)

    def _text(self, number: Any) -> Any:
        """Return so many units as a text; anything but a number as it is."""
        if isinstance(number, bool) or not isinstance(number, int):
            return number
        if self.span:
            whole = Duration.parse(f"1{self.unit}") * number
            return str(Duration(whole.days, whole.seconds, whole.microseconds))
        return str(Quantity(_EXACT.multiply(Decimal(number), Quantity(f"1{self.unit}"))))

    def _count(self, text: Any) -> Any:
        """Return how many units a text is, rounded up; what is no amount as it is."""
        if not isinstance(text, str):
            return text
        one = f"1{self.unit}"
        try:
            if self.span:
                return -(-Duration.parse(text) // Duration.parse(one))
            return ceil(Fraction(Quantity(text)) / Fraction(Quantity(one)))
        except ValueError:
            return text  # whoever validates the document says so


@dataclass(frozen=True)
class Removed:
    """Only the older version has it; the newer one keeps it in an annotation.

    Not inside lists and maps: an apply names elements in part, and what belongs to which could
    not be told on the way back. `in_elements` is for the inverse of `Added`, which converts
    what was stored whole.
    """

    path: str
    in_elements: bool = False

    def __post_init__(self) -> None:
        if EACH in parse(self.path) and not self.in_elements:
            raise ValueError(f"{self.path}: what is in a list or map cannot be kept aside")

    def apply(self, document: Document) -> None:
        """Keep every value at the path aside."""
        *above, last = parse(self.path)
        kept: Kept = {}
        for holder in holders(document, tuple(above)):
            if last in holder.value:
                value = holder.value.pop(last)
                beside = digest(holder.value) if holder.in_list else ""
                kept[f"{holder.pointer}/{last}"] = (beside, value)
        keep(document, self.path, kept)

    def convert_pointer(self, pointer: str) -> str | None:
        """Return the annotation's pointer for the attribute and all in it."""
        if not leads(steps_of(pointer), parse(self.path)):
            return pointer
        return None if EACH in self.path else annotation_pointer(self.path)

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return None for the attribute: it cannot be selected on any more."""
        return None if leads(steps, dotted(self.path)) else (steps, text)

    def inverse(self) -> Added:
        """Return the step that puts it back."""
        return Added(self.path)


@dataclass(frozen=True)
class Added:
    """Only the newer version has it; the older one keeps it in an annotation.

    In an element of a list it is put back only where the rest of that element is as it was.
    """

    path: str

    def __post_init__(self) -> None:
        if parse(self.path)[-1] == EACH:
            raise ValueError(f"{self.path}: name the attribute, not its elements")

    def apply(self, document: Document) -> None:
        """Put back what was kept aside."""
        *above, last = parse(self.path)
        kept = pop_kept(document, self.path)
        if not kept:
            return
        found = {
            f"{holder.pointer}/{last}": (digest(holder.value) if holder.in_list else "", holder)
            for holder in holders(document, tuple(above))
        }
        for at, (mine, holder) in found.items():
            if at in kept and kept[at][0] == mine:
                holder.value.setdefault(last, kept.pop(at)[1])
        # What is left belongs to elements that are elsewhere in their list now, or gone.
        moved = {beside: value for beside, value in kept.values() if beside}
        for mine, holder in found.values():
            if mine in moved:
                holder.value.setdefault(last, moved[mine])

    def convert_pointer(self, pointer: str) -> str | None:
        """Return the attribute's pointer for the annotation's."""
        if pointer != annotation_pointer(self.path):
            return pointer
        return None if EACH in self.path else pointer_of(parse(self.path))

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return both as they are."""
        return steps, text

    def inverse(self) -> Removed:
        """Return the step that keeps it aside."""
        return Removed(self.path, in_elements=True)


@dataclass(frozen=True)
class Opaque:
    """Two functions on whole documents, inverse to each other."""

    up: Callable[[Document], Document]
    down: Callable[[Document], Document]

    def apply(self, document: Document) -> None:
        """Convert the whole document."""
        converted = thawed(self.up(thawed(document)))
        document.clear()
        document.update(converted)

    def convert_pointer(self, pointer: str) -> str | None:
        """Return metadata's pointers; where the others lead nobody knows."""
        return pointer if pointer.startswith("/metadata/") else None

    def convert_field(self, steps: Steps, text: str) -> Field | None:
        """Return None: nobody knows."""
        return None

    def inverse(self) -> Opaque:
        """Return the functions the other way round."""
        return Opaque(self.down, self.up)


def _bijection(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return `values` made total: where a chain of renamings ends, it goes on at its start.

    No valid document holds such a value. With it, every document converts back to itself.
    """
    whole = dict(values)
    for start in values.keys() - set(values.values()):
        end = start
        while end in values:
            end = values[end]
        whole[end] = start
    return whole
