"""What changed between two schemas, and which of it breaks data that is stored already.

Schemas are compared as documents see them: components are laid out where kinds hold them, so
that a change is named by its path (`sandbox.spec.containers.ports.port`), and attributes are the
same when their name on the wire is. Three verdicts:

    BREAKING    an entity stored under the old schema may be refused by the new one
    CAUTION     stored entities stay good, but something behaves otherwise or must be rebuilt
    COMPATIBLE  anything else
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from miren.base.suggestions import closest
from miren.schemagen.attribute_diff import Verdict, compare_attributes
from miren.schemagen.describing import Components, components_of, must_be_given
from miren.schemagen.model import Attribute, ClassName, Component, Kind, Schema
from miren.schemagen.places import Origin

__all__ = ["Change", "Side", "Verdict", "compare"]


class Side(StrEnum):
    """Which of the two schemas says it."""

    OLD = "old"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `origin` is where `side` says it."""

    path: str  # `sandbox.spec.containers.ports.port`
    verdict: Verdict
    message: str
    side: Side
    origin: Origin
    hint: str | None = None


#: The pairs of components around the one that is being compared.
_Above = tuple[tuple[ClassName, ClassName], ...]


@dataclass(frozen=True, slots=True)
class _Versioned:
    kind: Kind
    schema: Schema

    @property
    def path(self) -> str:
        return self.kind.name.lower()


def compare(old: Sequence[Schema], new: Sequence[Schema]) -> tuple[Change, ...]:
    """Return every difference, by kind, in the order of the schemas; none for equal ones."""
    return tuple(_Comparison(old, new).changes())


class _Comparison:
    """Compares two sets of schemas, kind by kind."""

    def __init__(self, old: Sequence[Schema], new: Sequence[Schema]) -> None:
        self._old, self._new = _by_kind(old), _by_kind(new)
        self._old_parts, self._new_parts = components_of(old), components_of(new)

    def changes(self) -> Iterator[Change]:
        for key, versions in self._old.items():
            yield from self._versions(versions, self._new.get(key, {}))
        for key, versions in self._new.items():
            if key not in self._old:
                for each in versions.values():
                    yield _of_kind(each, Side.NEW, Verdict.COMPATIBLE, "kind added")

    def _versions(
        self, old: dict[str, _Versioned], new: dict[str, _Versioned]
    ) -> Iterator[Change]:
        """Compare the versions of one kind; a single one that was renamed is still the same."""
        if not new:
            for each in old.values():
                yield _of_kind(each, Side.OLD, Verdict.BREAKING, "kind removed")
            return
        pairs = [(old[name], new[name]) for name in old if name in new]
        gone = [name for name in old if name not in new]
        come = [name for name in new if name not in old]
        if len(old) == len(new) == len(gone) == 1:
            pairs = [(old[gone[0]], new[come[0]])]
        for one, other in pairs:
            yield from self._kind(one, other)
        if pairs and pairs[0][0].schema.version != pairs[0][1].schema.version:
            return
        for name in gone:
            message = f"version {name} removed"
            yield _of_kind(old[name], Side.OLD, Verdict.BREAKING, message)
        for name in come:
            yield _of_kind(new[name], Side.NEW, Verdict.COMPATIBLE, f"version {name} added")

    def _kind(self, old: _Versioned, new: _Versioned) -> Iterator[Change]:
        for verdict, message in _kind_findings(old, new):
            yield _of_kind(new, Side.NEW, verdict, message)
        parts = (
            ("spec", old.kind.spec, new.kind.spec, new.kind.status),
            ("status", old.kind.status, new.kind.status, new.kind.spec),
        )
        for part, before, after, elsewhere in parts:
            moved = {each.wire: each for each in elsewhere}
            modules = old.schema.module, new.schema.module
            level = _Level(f"{new.path}.{part}", before, after, *modules)
            yield from self._level(level, (), moved)

    def _level(
        self,
        level: _Level,
        above: _Above,
        moved: dict[str, Attribute] | None = None,
    ) -> Iterator[Change]:
        before = {each.wire: each for each in level.old}
        after = {each.wire: each for each in level.new}
        added = [name for name in after if name not in before]
        for name, attribute in before.items():
            if name in after:
                yield from self._attribute(level, name, attribute, after[name], above)
            elif moved and name in moved:
                to = "status" if moved[name].status else "spec"
                yield level.change(name, Side.OLD, Verdict.BREAKING, f"moved to the {to}")
            else:
                hint = _renamed(attribute, after, added)
                yield level.change(name, Side.OLD, Verdict.BREAKING, "attribute removed", hint)
        for name in added:
            if must_be_given(after[name]):
                message = "required attribute added"
                yield level.change(name, Side.NEW, Verdict.BREAKING, message, "give it a default")
            else:
                yield level.change(name, Side.NEW, Verdict.COMPATIBLE, "attribute added")

    def _attribute(
        self,
        level: _Level,
        name: str,
        old: Attribute,
        new: Attribute,
        above: _Above,
    ) -> Iterator[Change]:
        for finding in compare_attributes(old, new):
            yield level.change(name, Side.NEW, *finding)
        before, after = _held(old, self._old_parts), _held(new, self._new_parts)
        if before is None or after is None or (before.known, after.known) in above:
            return
        if before.shorthand != after.shorthand:
            verdict = Verdict.CAUTION if before.shorthand else Verdict.COMPATIBLE
            message = f"shorthand {_change(before.shorthand, after.shorthand)}"
            yield level.change(name, Side.NEW, verdict, message)
        if before.doc != after.doc and old.doc == new.doc:
            yield level.change(name, Side.NEW, Verdict.COMPATIBLE, "doc changed")
        yield from self._level(
            _Level(
                f"{level.path}.{name}",
                before.attributes,
                after.attributes,
                before.module,
                after.module,
            ),
            (*above, (before.known, after.known)),
        )


@dataclass(frozen=True, slots=True)
class _Level:
    """The attributes of two components, or of two kinds' spec or status, at one path."""

    path: str
    old: Sequence[Attribute]
    new: Sequence[Attribute]
    old_module: str
    new_module: str

    def change(
        self, name: str, side: Side, verdict: Verdict, message: str, hint: str | None = None
    ) -> Change:
        is_old = side is Side.OLD
        module = self.old_module if is_old else self.new_module
        known = next(each for each in (self.old if is_old else self.new) if each.wire == name)
        path = f"{self.path}.{name}"
        return Change(path, verdict, message, side, Origin(module, known.at), hint)


def _held(attribute: Attribute, parts: Components) -> Component | None:
    known = attribute.leaf.component
    return parts.get(known) if known else None


def _by_kind(schemas: Iterable[Schema]) -> dict[tuple[str, str], dict[str, _Versioned]]:
    found: dict[tuple[str, str], dict[str, _Versioned]] = {}
    for schema in schemas:
        for kind in schema.kinds:
            versions = found.setdefault((schema.domain, kind.name), {})
            versions[schema.version] = _Versioned(kind, schema)
    return found


def _of_kind(each: _Versioned, side: Side, verdict: Verdict, message: str) -> Change:
    return Change(each.path, verdict, message, side, Origin(each.schema.module, each.kind.at))


def _kind_findings(old: _Versioned, new: _Versioned) -> Iterator[tuple[Verdict, str]]:
    before, after = old.kind, new.kind
    if old.schema.version != new.schema.version:
        version = f"{old.schema.domain}/{old.schema.version}"
        is_read = version in new.schema.aliases or old.schema.domain in new.schema.aliases
        verdict = Verdict.CAUTION if is_read else Verdict.BREAKING
        yield verdict, f"version {_change(old.schema.version, new.schema.version)}"
    if before.scope != after.scope:
        yield Verdict.BREAKING, f"scope {_change(before.scope, after.scope)}"
    for what in ("plural", "short"):
        one, other = getattr(before, what), getattr(after, what)
        if one != other:
            yield Verdict.CAUTION, f"{what} {_change(one, other)}"
    aliases, others = set(old.schema.aliases), set(new.schema.aliases)
    if aliases - others:
        yield Verdict.CAUTION, f"no longer read as {', '.join(sorted(aliases - others))}"
    if others - aliases:
        yield Verdict.COMPATIBLE, f"also read as {', '.join(sorted(others - aliases))}"
    if before.columns != after.columns:
        yield Verdict.COMPATIBLE, "columns changed"
    if before.doc != after.doc:
        yield Verdict.COMPATIBLE, "doc changed"


def _renamed(
    attribute: Attribute, after: dict[str, Attribute], added: Sequence[str]
) -> str | None:
    """Return what an attribute that is gone may have become: of its type and a similar name."""
    renamed = [name for name in added if after[name].name == attribute.name]
    if renamed:
        return f"documents call it {renamed[0]!r} now"
    alike = [name for name in added if after[name].type == attribute.type]
    same = [name for name in alike if after[name].doc and after[name].doc == attribute.doc]
    if same:
        return f"was it renamed to {same[0]!r}?"
    hint = closest(attribute.wire, alike)
    return hint.replace("did you mean", "was it renamed to") if hint else None


def _change(old: Any, new: Any) -> str:
    return f"changed from {_shown(old)} to {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
