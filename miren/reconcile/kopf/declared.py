"""What kopf's decorators collect, before it is known which kinds they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from miren.reconcile.kopf.errors import ErrorsMode
from miren.reconcile.kopf.filters import Filters, Wanted, path_of
from miren.reconcile.kopf.kinds import Kind, Resource

__all__ = [
    "Common",
    "Declared",
    "Function",
    "OperatorRegistry",
    "Options",
    "Reason",
    "declare",
    "default",
]

#: A handler: called with keyword arguments.
Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


class Reason(StrEnum):
    """What a handler is for; in the words of kopf's `reason`, where it has one."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RESUME = "resume"
    FIELD = "field"
    EVENT = "event"
    TIMER = "timer"
    DAEMON = "daemon"
    INDEX = "index"
    STARTUP = "startup"
    CLEANUP = "cleanup"


class Common(TypedDict, total=False):
    """What all of kopf's decorators take; `registry` is where the handler goes."""

    id: str
    param: object
    errors: ErrorsMode
    timeout: float  # for all attempts together, in seconds
    retries: int
    backoff: float
    labels: Mapping[str, Wanted]
    annotations: Mapping[str, Wanted]
    when: Callable[..., bool]
    value: Wanted
    old: Wanted
    new: Wanted
    registry: OperatorRegistry


class Options(Common, total=False):
    """What those take that need not be about a field."""

    field: str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Declared:
    """One handler as it was declared. What is particular to timers and daemons is in `timing`."""

    reason: Reason
    resource: Resource
    function: Function
    id: str
    filters: Filters = field(default_factory=Filters)
    param: object = None
    errors: ErrorsMode = ErrorsMode.TEMPORARY
    timeout: float | None = None
    retries: int | None = None
    backoff: float | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tells it apart: one function may be for several reasons under one id."""
        return f"{self.reason}.{self.id}"


class OperatorRegistry:
    """Handlers that belong together. There is a default one, which decorators mean."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []


_DEFAULT = OperatorRegistry()


def default() -> OperatorRegistry:
    """Return the registry of handlers that were declared without `registry=`."""
    return _DEFAULT


def declare(
    reason: Reason,
    resource: tuple[str | Kind, ...],
    options: Options,
    **timing: Any,
) -> Callable[[F], F]:
    """Return a decorator that declares a handler and returns it as it was."""
    hooks = (Reason.STARTUP, Reason.CLEANUP)
    if not resource and reason not in hooks:
        raise TypeError(f"kopf's {reason} needs the name of a resource")

    def register(function: F) -> F:
        path = path_of(options["field"]) if "field" in options else None
        name = options.get("id", "") or str(getattr(function, "__name__", reason))
        if path is not None:
            name = f"{name}/{'.'.join(path)}"
        check_arguments(reason, function)
        made = Declared(
            reason,
            resource,
            function,
            name,
            Filters(
                options.get("labels"),
                options.get("annotations"),
                options.get("when"),
                path,
                options.get("value"),
                options.get("old"),
                options.get("new"),
            ),
            options.get("param"),
            options.get("errors", ErrorsMode.TEMPORARY),
            options.get("timeout"),
            options.get("retries"),
            options.get("backoff"),
            timing,
        )
        options.get("registry", _DEFAULT).declared.append(made)
        return function

    return register


def check_arguments(reason: Reason, function: Function) -> None:
    """Refuse what could only fail when it is called: arguments come by their names."""
    if not callable(function):
        raise TypeError(f"kopf's {reason} decorates a function, not {function!r}")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"{function.__name__}: {parameter.name} cannot be positional-only")
        if parameter.name == "settings":
            raise TypeError(
                f"{function.__name__}: there are no settings here; "
                "the arguments of Engine and kopf.controllers say such things"
            )
