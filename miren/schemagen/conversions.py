"""The `conversions:` of a schema file: how entities of older versions become this one's.

    conversions:
      v1alpha1:
        widget:
          - {move: [spec.size_gb, spec.size], unit: Gi}     # 10 becomes 10Gi
          - {map: spec.tier, values: {cheap: standard}}
          - {add: spec.color}                               # only this version has it
          - {remove: spec.nick}                             # only the older version has it
          - {move: ["spec.ports[].port", "spec.ports[].number"]}

Paths name attributes as the files do, `[]` for each element of a list or map. Where the older
version is generated together with this one, both ends of every path are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from miren.base.quantities import Duration, Quantity
from miren.base.suggestions import closest
from miren.schemagen.emit import Group, quote
from miren.schemagen.model import Attribute, ClassName, Component, Kind, Path, Schema
from miren.schemagen.names import camel, pascal, snake
from miren.schemagen.naming import Unknown

__all__ = ["KEYS", "Wrong", "converters_of", "wrong_conversions"]

_VERBS = ("move", "map", "add", "remove")
KEYS = (*_VERBS, "unit", "values")

Attributes = Sequence[Attribute]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a conversion, and where the file has it."""

    path: Path
    message: str
    hint: str | None = None


def converters_of(kind: Kind, schema: Schema, schemas: Sequence[Schema]) -> Mapping[str, Group]:
    """Return the code of a kind's converters by the version that they convert from."""
    found = {}
    for version, kinds in schema.conversions.items():
        for word, steps in kinds.items():
            if _is_called(kind, word):
                reader = _Reader(kind, _older(schema, schemas, version, kind), schemas)
                items = tuple(group for step in steps for group in reader.read(step, ()))
                found[version] = Group("conversions.Converter(", items, ")")
    return found


def wrong_conversions(schema: Schema, schemas: Sequence[Schema]) -> Iterator[Wrong]:
    """Yield everything that is wrong with a schema's conversions."""
    for version, kinds in schema.conversions.items():
        at: Path = ("conversions", version)
        if version == schema.version:
            yield Wrong(at, f"{version} is this version: say how older ones become it")
        for word, steps in kinds.items():
            kind = next((each for each in schema.kinds if _is_called(each, word)), None)
            if kind is None:
                names = [each.name for each in schema.kinds]
                yield Wrong((*at, word), f"no kind {word!r} in this file", closest(word, names))
                continue
            reader = _Reader(kind, _older(schema, schemas, version, kind), schemas)
            for number, step in enumerate(steps):
                list(reader.read(step, (*at, word, number)))
            yield from reader.wrong


def _is_called(kind: Kind, word: str) -> bool:
    return pascal(word).lower() == kind.name.lower()


def _older(schema: Schema, schemas: Sequence[Schema], version: str, kind: Kind) -> Kind | None:
    """Return the kind in the older version, where that is generated too."""
    for other in schemas:
        if (other.domain, other.version) == (schema.domain, version):
            for known in other.kinds:
                if known.name == kind.name:
                    return known
    return None


@dataclass
class _Reader:
    """Reads the steps of one converter in order; `wrong` is what it found."""

    new: Kind
    old: Kind | None
    schemas: Sequence[Schema]
    wrong: list[Wrong] = field(default_factory=list)
    _moved: dict[str, Attribute] = field(default_factory=dict)  # what older attributes became

    def read(self, step: Mapping[str, Any], at: Path) -> Iterator[Group]:
        """Yield the code of one step."""
        verbs = [key for key in step if key in _VERBS]
        for key in step:
            if key not in KEYS:
                self._say((*at, key), f"unknown key {key!r}", closest(key, KEYS))
        if len(verbs) != 1:
            self._say(at, f"a step has one of {', '.join(_VERBS)}")
            return
        verb, given = verbs[0], step[verbs[0]]
        here = (*at, verb)
        if verb == "move":
            yield from self._move(given, step, here)
        elif not isinstance(given, str):
            self._say(here, "must be a path")
        elif verb == "map":
            if not step.keys() & {"unit", "values"}:
                self._say(at, "say `values` or a `unit`")
            yield from self._values(given, None, step, here)
        else:
            kind = self.new if verb == "add" else self.old
            name = "Added" if verb == "add" else "Removed"
            wire, _ = self._walk(given, kind, here)
            if verb == "remove" and "[]" in given:
                hint = "convert by functions, in Python"
                self._say(here, "what is in a list or map cannot be kept aside", hint)
            yield Group(f"conversions.{name}(", (quote(wire),), ")")

    def _move(self, given: object, step: Mapping[str, Any], at: Path) -> Iterator[Group]:
        if not isinstance(given, list) or len(given) != 2 or not all(_is_text(p) for p in given):
            self._say(at, "move takes two paths: [spec.old, spec.new]")
            return
        old, was = self._walk(given[0], self.old, (*at, 0))
        new, _ = self._walk(given[1], self.new, (*at, 1))
        if _element_of(old) != _element_of(new):
            self._say((*at, 1), f"{given[1]} is not of the same element as {given[0]}")
        if was is not None:
            self._moved[new] = was
        yield Group("conversions.Move(", (quote(old), quote(new)), ")")
        if step.keys() & {"unit", "values"}:
            yield from self._values(given[1], was, step, (*at, 1))

    def _values(
        self, path: str, was: Attribute | None, step: Mapping[str, Any], at: Path
    ) -> Iterator[Group]:
        wire, found = self._walk(path, self.new, at)
        values, unit = step.get("values"), step.get("unit")
        if values is not None and not (isinstance(values, dict) and _are_texts(values)):
            self._say((*at[:-1], "values"), "must be a mapping of texts")
        elif values is not None:
            if len(set(values.values())) != len(values):
                self._say(at, "two values become one, and could not be told apart")
            self._check_choices(values, was, found, at)
            pairs = tuple(f"{quote(old)}: {quote(new)}" for old, new in values.items())
            yield Group("conversions.Values(", (quote(wire), Group("{", pairs, "}")), ")")
        if unit is not None:
            is_span = found is not None and found.type == "duration"
            if found is not None and found.type not in ("duration", "quantity"):
                self._say(at, f"a unit makes quantities or durations, not {found.type}")
            elif was is not None and was.type != "int":
                self._say(at, f"only whole numbers have a unit, not {was.type}")
            elif not _is_unit(unit, is_span):
                self._say(at, f"{unit!r} is no unit", "such as Gi, or s for durations")
            span = ("span=True",) if is_span else ()
            yield Group("conversions.Unit(", (quote(wire), quote(str(unit)), *span), ")")

    def _check_choices(
        self,
        values: Mapping[str, str],
        was: Attribute | None,
        found: Attribute | None,
        at: Path,
    ) -> None:
        for attribute, words in ((was, values.keys()), (found, values.values())):
            choices = attribute.choices if attribute is not None else ()
            for word in words if choices else ():
                if word not in choices:
                    self._say(at, f"{word!r} is none of {', '.join(choices)}")

    # -- paths -----------------------------------------------------------------------------

    def _walk(self, path: str, kind: Kind | None, at: Path) -> tuple[str, Attribute | None]:
        """Return a path as documents spell it, and the attribute there where that is known."""
        try:
            return self._follow(path, kind)
        except Unknown as error:
            self._say(at, str(error), error.hint)
            return path, None

    def _follow(self, path: str, kind: Kind | None) -> tuple[str, Attribute | None]:
        part, *steps = path.split(".")
        if part not in ("spec", "status") or not steps:
            raise Unknown(f"no path {path!r}", "a path begins with spec. or status.")
        known = None if kind is None else getattr(kind, part)
        wire, found = part, None
        for number, step in enumerate(steps):
            name, mark = step.removesuffix("[]"), "[]" if step.endswith("[]") else ""
            found = None if known is None else _named(name, known)
            was = self._moved.get(f"{wire}.{camel(snake(name))}")
            if found is None and was is None and known is not None:
                names = [attribute.wire for attribute in known]
                hint = closest(name, names) or "it has " + (", ".join(names) or "nothing")
                version = "this version" if kind is self.new else "the older version"
                raise Unknown(f"no {path!r} in {version} of {self.new.name}", hint)
            wire = f"{wire}.{found.wire if found else camel(snake(name))}"
            if number < len(steps) - 1:
                inside = [each for each in (found, was) if each is not None]
                if any((each.is_listed or each.of is not None) != bool(mark) for each in inside):
                    told = "write" if not mark else "it is no list or map: write"
                    right = f"{name}[]" if not mark else name
                    raise Unknown(f"{path!r} does not fit {name}", f"{told} {right}")
                known = [inner for each in inside for inner in self._inside(each)]
                if not known:
                    known = None
                    if inside:
                        raise Unknown(f"no {path!r} in {self.new.name}: {name} is no component")
            wire += mark
        return wire, found

    def _inside(self, attribute: Attribute) -> Attributes:
        component = attribute.leaf.component
        known = None if component is None else self._components.get(component)
        return () if known is None else known.attributes

    @property
    def _components(self) -> Mapping[ClassName, Component]:
        return {part.known: part for schema in self.schemas for part in schema.components}

    def _say(self, at: Path, message: str, hint: str | None = None) -> None:
        self.wrong.append(Wrong(at, message, hint))


def _named(name: str, attributes: Attributes) -> Attribute | None:
    return next((a for a in attributes if {name, snake(name)} & a.spellings()), None)


def _element_of(path: str) -> str:
    """Return what of a path leads to the element that an attribute belongs to."""
    return path.rpartition("[].")[0] or path.partition(".")[0]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(values: Mapping[Any, Any]) -> bool:
    return all(isinstance(text, str) for pair in values.items() for text in pair)


def _is_unit(unit: object, is_span: bool) -> bool:
    try:
        Duration.parse(f"1{unit}") if is_span else Quantity(f"1{unit}")
    except ValueError:
        return False
    return True
