"""The ready keys of one priority, in the order of their turns.

Projects take turns, and the keys of one project come in the order they were added: with all
costs alike, deficit round robin is round robin. With one project it is a plain queue. Whoever has
nothing ready saves up no turns, and one key of a quiet project starts at most one turn of every
other project later, however much these have queued.

Every operation is O(1). Ordered dicts, not plain ones: the first of a plain dict is found by
walking over all that was deleted before it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Turns"]

K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """Keys of one `priority`; `project` says whose a key is.

    `ready` has all of them with the time since when they are, the one that came first in front.
    It is for reading.
    """

    __slots__ = ("_lines", "_project", "priority", "ready")

    def __init__(self, priority: int, project: Callable[[K], Hashable]) -> None:
        self.priority = priority
        self._project = project
        self._lines: OrderedDict[Hashable, OrderedDict[K, None]] = OrderedDict()
        self.ready: OrderedDict[K, float] = OrderedDict()

    @property
    def since(self) -> float:
        """When the key that has been here longest became ready. Only while there is one."""
        return self.ready[next(iter(self.ready))]

    def add(self, key: K, since: float) -> None:
        """Put a key that is not here at the end of its project's line."""
        self.ready[key] = since
        project = self._project(key)
        line = self._lines.get(project)
        if line is None:
            line = self._lines[project] = OrderedDict()
        line[key] = None

    def take(self) -> tuple[K, float]:
        """Remove the key whose turn it is, and return since when it was ready."""
        project, line = self._lines.popitem(last=False)
        key, _ = line.popitem(last=False)
        if line:
            self._lines[project] = line
        return key, self.ready.pop(key)

    def remove(self, key: K) -> float:
        """Remove a key that is here, and return since when it was ready."""
        project = self._project(key)
        line = self._lines[project]
        del line[key]
        if not line:
            del self._lines[project]
        return self.ready.pop(key)
