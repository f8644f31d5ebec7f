"""JSON Patch (RFC 6902) on documents, with our errors: which operation, and why it cannot be."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from miren.base.errors import Conflict, InvalidInput

__all__ = ["patched_by_operations"]

_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


def patched_by_operations(
    document: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a copy of `document` after all operations.

    Raises InvalidInput for what is no operation or points nowhere, Conflict for a `test` that
    fails; both name the operation.
    """
    import jsonpatch
    import jsonpointer

    given: object = operations  # whatever somebody sent
    if not isinstance(given, list | tuple):
        raise InvalidInput("a patch is a mapping, or a list of operations")
    result: Any = copy.deepcopy(dict(document))
    for number, operation in enumerate(operations):
        name = operation.get("op") if isinstance(operation, Mapping) else None
        if name not in _OPERATIONS or not isinstance(operation.get("path"), str):
            _refuse(number, f"is no operation: op is one of {', '.join(_OPERATIONS)}, with a path")
        try:
            patch: Any = [dict(operation)]  # its form is checked right here
            result = jsonpatch.apply_patch(result, patch, in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            path = operation["path"]
            raise Conflict(f"operation {number}: the test of {path} does not hold") from None
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
            missing = isinstance(error, jsonpatch.InvalidJsonPatch)
            told = str(error) if missing else f"{name} {operation['path']}: nothing is there"
            _refuse(number, told)
    if not isinstance(result, dict):
        _refuse(len(operations) - 1, "would make it no mapping")
    return dict(result)


def _refuse(number: int, message: str) -> None:
    raise InvalidInput(f"operation {number}: {message}")
