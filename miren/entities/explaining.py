"""`miren explain`: what a kind and its attributes mean, from the models themselves.

A `Subject` is a kind as a tree of topics. It is made from a `Kind`, whichever front end wrote
its models; other front ends (a schema file that is not installed) build the same tree. Topics
open lazily, because components may hold themselves.

    find(subject, ["spec", "container", "port"])    the topics on the way, in any spelling
    explanation(subject, ["spec"])                  the text
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from miren.base.constraints import phrases
from miren.base.errors import NotFound
from miren.base.suggestions import closest
from miren.base.words import plural
from miren.entities.kinds import Kind
from miren.entities.topics import Topic, envelope, topics_of

__all__ = ["Subject", "explanation", "find", "subject_of"]

_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind to be explained: its names, and the topics of its documents."""

    kind: str
    api_version: str
    doc: str
    words: tuple[str, ...]  # what it is called on a command line
    scope: str
    topics: tuple[Topic, ...]

    @property
    def name(self) -> str:
        """What paths begin with: `sandbox`."""
        return self.kind.lower()


def subject_of(kind: Kind) -> Subject:
    """Return a kind as its models describe it."""
    return Subject(
        kind=kind.name,
        api_version=kind.api_version,
        doc=kind.doc,
        words=kind.words(),
        scope=kind.scope.value,
        topics=envelope(lambda: topics_of(kind.spec), lambda: topics_of(kind.status)),
    )


def find(subject: Subject, steps: Sequence[str]) -> tuple[Topic, ...]:
    """Return the topics that `steps` lead through; singular, plural and any spelling count.

    Raises NotFound, with what was probably meant, for a step that leads nowhere.
    """
    found: list[Topic] = []
    for step in steps:
        choices = found[-1].open() if found else subject.topics
        topic = _named(step, choices)
        if topic is None:
            raise _lost(subject, found, step, choices)
        found.append(topic)
    return tuple(found)


def explanation(subject: Subject, steps: Sequence[str], *, recursive: bool = False) -> str:
    """Return the text about a kind, or about what `steps` lead to in it.

    With `recursive` the attributes inside come as an outline. Raises NotFound as `find` does.
    """
    way = find(subject, steps)
    lines = [f"KIND:     {subject.kind}", f"VERSION:  {subject.api_version}"]
    if way:
        path = ".".join([subject.name, *(topic.name for topic in way)])
        lines.append(f"FIELD:    {path} <{way[-1].type}>{_mark(way[-1])}")
    else:
        lines += [f"NAMES:    {', '.join(subject.words)}", f"SCOPE:    {subject.scope}"]
    lines += _about(way[-1].doc if way else subject.doc, way[-1].facts if way else {})
    inside = way[-1].open() if way else subject.topics
    if inside:
        lines += ["", "FIELDS:"]
        lines += _outline(inside, "  ", ()) if recursive else _listed(inside)
    return "\n".join(lines)


def _about(doc: str, facts: Mapping[str, object]) -> Iterator[str]:
    told = phrases(facts)
    if doc:
        yield from ("", "DESCRIPTION:", *_wrapped(doc, "  "))
    if told:
        yield from ("", "CONSTRAINTS:", *(f"  {phrase}" for phrase in told))


def _listed(topics: Iterable[Topic]) -> Iterator[str]:
    for number, topic in enumerate(topics):
        if number:
            yield ""
        yield f"  {topic.name} <{topic.type}>{_mark(topic)}"
        yield from _wrapped(topic.doc, "    ")
        told = phrases(topic.facts)
        if told:
            yield from _wrapped(f"({'; '.join(told)})", "    ")


def _outline(topics: Iterable[Topic], indent: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yield a line a topic, those inside indented; a component inside itself stays closed."""
    for topic in topics:
        yield f"{indent}{topic.name} <{topic.type}>{_mark(topic)}"
        if topic.component not in above:
            yield from _outline(topic.open(), f"{indent}  ", (*above, topic.component))


def _mark(topic: Topic) -> str:
    return " -required-" if topic.required else ""


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


# -- names -------------------------------------------------------------------------------------


def _named(step: str, topics: Sequence[Topic]) -> Topic | None:
    """Return the topic of that name: as it is spelled, else folded, else in another number."""
    for same in (_exactly, _folded, _in_number):
        for topic in topics:
            if same(step, topic.name):
                return topic
    return None


def _exactly(step: str, name: str) -> bool:
    return step == name


def _folded(step: str, name: str) -> bool:
    return _fold(step) == _fold(name)


def _in_number(step: str, name: str) -> bool:
    one, other = _fold(step), _fold(name)
    return one == plural(other) or other == plural(one)


def _fold(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _lost(subject: Subject, way: Sequence[Topic], step: str, choices: Sequence[Topic]) -> NotFound:
    here = ".".join([subject.name, *(topic.name for topic in way)])
    if not choices:
        return NotFound(
            f"no {step!r} in {here}", hint=f"nothing is inside a value of type {way[-1].type}"
        )
    elsewhere = _deeper(step, choices, here)
    names = [topic.name for topic in choices]
    hint = f"did you mean {elsewhere!r}?" if elsewhere else closest(step, names)
    return NotFound(f"no {step!r} in {here}", hint=hint or f"it has {', '.join(names)}")


def _deeper(step: str, topics: Sequence[Topic], here: str) -> str | None:
    """Return the path of the nearest topic of that name: a part of it may be forgotten."""
    rows: list[tuple[str, Topic]] = [(f"{here}.{topic.name}", topic) for topic in topics]
    seen: set[str] = set()
    while rows:
        for path, topic in rows:
            if _named(step, [topic]):
                return path
        inner = []
        for path, topic in rows:
            if topic.component and topic.component not in seen:
                seen.add(topic.component)
                inner += [(f"{path}.{inside.name}", inside) for inside in topic.open()]
        rows = inner
    return None
