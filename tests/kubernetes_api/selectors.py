"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kubernetes_api.patching import at
from tests.kubernetes_api.refusals import Refusal
from tests.kubernetes_api.resources import Resource

Test = Callable[[Mapping[str, Any]], bool]

_TERM = re.compile(
    r"\s*(?:!\s*(?P<missing>[^\s=!,()]+)"
    r"|(?P<key>[^\s=!,()]+)\s*(?:(?P<sign>==|=|!=)\s*(?P<value>[^\s,()]*)"
    r"|(?P<word>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)


def selects(resource: Resource, labels: str, fields: str) -> Test | None:
    """Return what an object must satisfy, None for everything."""
    tests = [*_labels(labels), *_fields(resource, fields)]
    return (lambda document: all(test(document) for test in tests)) if tests else None


def _labels(text: str) -> list[Test]:
    tests, position = [], 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or match.end() == position:
            raise Refusal(400, f"unable to parse requirement: {text!r}")
        tests.append(_label(match))
        position = match.end()
    return tests


def _label(match: re.Match[str]) -> Test:
    key = match["missing"] or match["key"]
    values = [each.strip() for each in (match["values"] or match["value"] or "").split(",")]
    wanted = not (match["missing"] or match["sign"] == "!=" or match["word"] == "notin")
    any_value = match["sign"] is None and match["word"] is None

    def test(document: Mapping[str, Any]) -> bool:
        found = (document["metadata"].get("labels") or {}).get(key)
        return (found is not None if any_value else found in values) is wanted

    return test


def _fields(resource: Resource, text: str) -> list[Test]:
    return [_field(resource, term) for term in text.split(",") if term]


def _field(resource: Resource, term: str) -> Test:
    path, sign, value = re.split(r"(!=|==|=)", term, maxsplit=1)
    if path not in ("metadata.name", "metadata.namespace", *resource.selectable):
        raise Refusal(400, f'field label not supported: "{path}"')
    steps = tuple(path.split("."))
    return lambda document: (str(at(document, steps) or "") == value) is (sign != "!=")
