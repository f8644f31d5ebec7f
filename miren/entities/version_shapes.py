"""Whether a converter accounts for every difference between the models of two versions.

Done with the converter itself: a document that holds every attribute of the older version once
is converted, and must hold every attribute of the newer one. What is wrong is said when kinds
are put together, not when the first entity cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from miren.entities.conversion_steps import Added, Move, Removed, Step, Unit, Values
from miren.entities.conversions import Converter
from miren.entities.document_paths import EACH, Steps, parse, put, take
from miren.entities.kind import Kind
from miren.entities.model import Model, wire_names
from miren.entities.reading import Child, children
from miren.entities.secret_places import holds_secrets_at

__all__ = ["differences", "lost_secrets"]

Shape = dict[str, Any]

_ADDED = object()  # an attribute that the other version has not


def differences(old: Kind, new: Kind, converter: Converter) -> tuple[str, ...]:
    """Return what the converter from `old` to `new` leaves unsaid or says wrongly."""
    if converter.is_opaque:
        return ()
    made, problems = _converted(old, converter)
    wanted = _paths(_shape_of(new))
    problems += [
        f"{path} is only in {new.version}: say Added({path!r}), or from where it moved"
        for path in sorted(wanted)
        if not any(_is_inside(path, known) for known in made)
    ]
    problems += [
        f"Added({path!r}): there is no {path} in {new.version}"
        for path, is_added in made.items()
        if is_added and not any(_is_inside(known, path) for known in wanted)
    ]
    problems += [
        f"{path} is only in {old.version}: say Removed({path!r}), or where it moved"
        for path, is_added in made.items()
        if not is_added and path not in wanted
    ]
    back, _ = _converted(new, converter.inverse())
    for kind, found in ((new, made), (old, back)):
        problems += [
            f"{path} is only in {kind.version}, and required there: give it a default"
            for path, is_added in found.items()
            if is_added and _is_required(kind, parse(path))
        ]
    return tuple(problems)


def lost_secrets(old: Kind, new: Kind, converter: Converter) -> tuple[str, ...]:
    """Return what a stored version has no place for and is a secret: nothing else may keep it.

    Only the other way, where secrets are masked, may they wait in annotations.
    """
    return tuple(
        f"{step}: it holds a secret, for which {new.version} must have a place"
        for step in converter.steps
        if isinstance(step, Removed) and holds_secrets_at(old, parse(step.path))
    )


def _converted(kind: Kind, converter: Converter) -> tuple[dict[str, bool], list[str]]:
    """Return the paths that converting makes, each with whether nothing was there before."""
    shape = _shape_of(kind)
    problems = [problem for step in converter.steps for problem in _reshape(shape, step)]
    return {path: leaf is _ADDED for path, leaf in _leaves(shape)}, problems


def _shape_of(kind: Kind) -> Shape:
    return {
        part: _model(model, ()) for part, model in (("spec", kind.spec), ("status", kind.status))
    }


def _model(model: type[Model], above: tuple[type[Model], ...]) -> Any:
    """Return every attribute of a model by its name on the wire; `EACH` leads to elements."""
    if not model.model_fields or model in above:
        return None
    inside = children(model)
    return {wire: _child(inside[wire], (*above, model)) for wire in wire_names(model).values()}


def _child(child: Child, above: tuple[type[Model], ...]) -> Any:
    if child.element is None:
        return _model(child.model, above)
    inner = _child(child.element, above)
    return None if inner is None else {EACH: inner}


def _paths(shape: Shape) -> frozenset[str]:
    return frozenset(path for path, _ in _leaves(shape))


def _leaves(shape: Any, path: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(shape, dict):
        yield path, shape
        return
    for name, inner in shape.items():
        yield from _leaves(inner, path + name if name == EACH else f"{path}.{name}".lstrip("."))


def _reshape(shape: Shape, step: Step) -> list[str]:
    """Do to a shape what the step does to documents; return what is wrong with the step."""
    match step:
        case Move(old, new):
            if not _is_in(shape, parse(old)):
                return [f"{step}: there is no {old}"]
            put(shape, parse(new), take(shape, parse(old)))
        case Removed(path):
            if not _is_in(shape, parse(path)):
                return [f"{step}: there is no {path}"]
            take(shape, parse(path))
        case Added(path):
            put(shape, parse(path), _ADDED)
        case Values(path) | Unit(path):
            steps = parse(path)
            if not _is_in(shape, steps[:-1] if steps[-1] == EACH else steps):
                return [f"{step}: there is no {path}"]
    return []


def _is_in(shape: Any, steps: Steps) -> bool:
    for step in steps:
        if not isinstance(shape, dict) or step not in shape:
            return False
        shape = shape[step]
    return True


def _is_inside(path: str, whole: str) -> bool:
    return path == whole or path.startswith((f"{whole}.", f"{whole}{EACH}"))


def _is_required(kind: Kind, steps: Steps) -> bool:
    """Return whether an attribute must be given by whoever writes in this version."""
    model: type[Model] = kind.spec if steps[0] == "spec" else kind.status
    for step in (step for step in steps[1:-1] if step != EACH):
        model = children(model)[step].model
    names = {wire: name for name, wire in wire_names(model).items()}
    return steps[-1] in names and model.model_fields[names[steps[-1]]].is_required()
