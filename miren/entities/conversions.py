"""Converting documents between versions of a kind, as data: pure, and both ways.

A converter is a list of steps from the older version to the newer one; its inverse leads back.
Steps apply in order, each to what the one before it left, and are total: on a whole document,
on a part of one that somebody applies, and (`convert_pointer`) on the JSON pointers of managed
fields. So an apply in an older version can be converted before it is merged.

    Converter(
        Move("spec.sizeGb", "spec.size"),
        Unit("spec.size", "Gi"),                      # 10 <-> "10Gi"
        Values("spec.tier", {"cheap": "standard"}),
        Added("spec.color"),
    )

Paths name attributes as on the wire. What the other version cannot hold is not lost: it waits
in an annotation, `converted.miren.dev/<path>`, and is put back on the way back. Attributes that
only one version has (`Added`, `Removed`) must be optional or have a default there: entities
written in the other version come without. Components in which a move leaves nothing go too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from miren.entities.conversion_steps import Added, Move, Opaque, Removed, Step, Unit, Values
from miren.entities.document_paths import thawed

__all__ = ["Added", "Converter", "Move", "Opaque", "Removed", "Step", "Unit", "Values"]

Document = dict[str, Any]


class Converter:
    """Steps from one version to the next. Immutable; `inverse` leads back, `then` goes on."""

    __slots__ = ("steps",)

    def __init__(self, *steps: Step) -> None:
        self.steps: tuple[Step, ...] = steps

    def __repr__(self) -> str:
        return f"Converter({', '.join(map(repr, self.steps))})"

    @classmethod
    def opaque(
        cls, up: Callable[[Document], Document], down: Callable[[Document], Document]
    ) -> Converter:
        """Return a converter of two functions on whole documents, inverse to each other.

        Nothing is known of parts: apply and field selectors take only the newest version then.
        """
        return cls(Opaque(up, down))

    @property
    def is_opaque(self) -> bool:
        """Whether it converts only whole documents."""
        return any(isinstance(step, Opaque) for step in self.steps)

    def inverse(self) -> Converter:
        """Return the converter back."""
        return Converter(*(step.inverse() for step in reversed(self.steps)))

    def then(self, other: Converter) -> Converter:
        """Return the converter that does this and then the other."""
        return Converter(*self.steps, *other.steps)

    def convert(self, document: Mapping[str, Any]) -> Document:
        """Return a document of the other version, plain data; `document` is left as it is."""
        result: Document = thawed(document)
        for step in self.steps:
            step.apply(result)
        return result

    def convert_pointer(self, pointer: str) -> str | None:
        """Return where a field is in the other version, None when that cannot be told."""
        at: str | None = pointer
        for step in self.steps:
            at = None if at is None else step.convert_pointer(at)
        return at

    def convert_field(self, path: str, text: str) -> tuple[str, str] | None:
        """Return a field selector (`spec.node`, value) in the other version's words.

        None where nothing there selects the same entities.
        """
        field = (tuple(path.split(".")), text)
        for step in self.steps:
            converted = step.convert_field(*field)
            if converted is None:
                return None
            field = converted
        return ".".join(field[0]), field[1]
