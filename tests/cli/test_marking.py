"""`miren label` and `miren annotate`: values set and taken off, none overwritten unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from miren.base.errors import Conflict
from miren.cli.connection import ENTITIES
from miren.cli.label import LABELS
from miren.cli.marking import Marking, mark
from miren.rpc.calls import Calls
from tests.servers import Done, Server, disk


@pytest.fixture
def cli(server: Server) -> Any:
    def run(words: str) -> Done:
        return server.cli(*words.split())

    return run


def labels(server: Server, name: str, part: str = "labels") -> dict[str, str]:
    metadata = server.ok("Get", kind="disk", name=name)["entity"]["metadata"]
    found: dict[str, str] = metadata.get(part, {})
    return found


def test_labels_are_set_and_taken_off(server: Server, cli: Any) -> None:
    server.ok("Apply", document=disk("l1"))
    assert cli("label disk l1 tier=front example.com/team=a").out == "disk/l1 labeled\n"
    assert labels(server, "l1") == {"tier": "front", "example.com/team": "a"}
    assert cli("label disk/l1 tier=front").out == "disk/l1 not labeled\n"
    assert cli("label disk/l1 tier- empty=").out == "disk/l1 labeled\n"
    assert cli("label disk/l1 example.com/team- empty-").out == "disk/l1 unlabeled\n"
    assert labels(server, "l1") == {}
    gone = cli("label disk/l1 tier-")
    assert (gone.code, gone.out, gone.err) == (
        0,
        "disk/l1 not labeled\n",
        "label 'tier' not found\n",
    )


def test_annotations_are_too(server: Server, cli: Any) -> None:
    server.ok("Apply", document=disk("n1"))
    assert cli("annotate disk n1 a/b=c~d note=x=y").out == "disk/n1 annotated\n"
    assert labels(server, "n1", "annotations") == {"a/b": "c~d", "note": "x=y"}
    assert cli("annotate disk n1 a/b-").out == "disk/n1 annotated\n"
    assert labels(server, "n1", "annotations") == {"note": "x=y"}


def test_a_value_is_not_overwritten_unasked(server: Server, cli: Any) -> None:
    server.ok("Apply", document=disk("o1", labels={"a": "1"}))
    server.ok("Apply", document=disk("o2"))
    done = cli("label disk o1 o2 a=2")
    assert (done.code, done.out) == (4, "disk/o2 labeled\n")
    assert "disk/o1 already has the label a=1" in done.err
    assert "--overwrite" in done.err
    assert labels(server, "o1") == {"a": "1"}
    assert cli("label disk o1 a=2 --overwrite").code == 0
    assert labels(server, "o1") == {"a": "2"}


class Interrupted(Calls):
    """Lets somebody else patch a disk between our reading and our writing, once."""

    def __init__(self, server: Server, patch: dict[str, Any]) -> None:
        super().__init__(server.address)
        self._patches = [patch]

    def call(
        self, method: str, request: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        answer = super().call(method, request, timeout=timeout)
        if method.endswith("/Get") and self._patches:
            theirs = {**request, "patch": self._patches.pop()}
            super().call(f"{ENTITIES}/Patch", theirs)
        return answer


@pytest.mark.parametrize("already", [{}, {"other": "x"}])
def test_what_others_set_meanwhile_is_not_overwritten(
    server: Server, already: dict[str, str]
) -> None:
    name = f"race-{len(already)}"
    server.ok("Apply", document=disk(name, labels=already))
    marking = Marking(LABELS, {"by": "me"})
    calls = Interrupted(server, {"metadata": {"labels": {"by": "them"}}})
    with pytest.raises(Conflict, match="already has the label by=them"):
        mark(calls, {"kind": "disk", "name": name}, marking)
    assert labels(server, name) == {**already, "by": "them"}


def test_what_others_change_elsewhere_meanwhile_is_no_conflict(server: Server) -> None:
    server.ok("Apply", document=disk("moved"))
    calls = Interrupted(server, {"spec": {"size": "3Gi"}})
    told = mark(calls, {"kind": "disk", "name": "moved"}, Marking(LABELS, {"by": "me"}))
    assert told == "disk/moved labeled"
    assert labels(server, "moved") == {"by": "me"}


def test_entities_are_selected(server: Server, cli: Any) -> None:
    server.make_project("marks")
    for name, tier in (("m1", "x"), ("m2", "y"), ("m3", "x")):
        document = disk(name, project="marks", labels={"tier": tier})
        server.ok("Apply", document=document)
    assert cli("label disks -l tier=x -p marks old=1").out == "disk/m1 labeled\ndisk/m3 labeled\n"
    every = cli("annotate disks --all -p marks seen=1")
    assert every.lines == [f"disk/{name} annotated" for name in ("m1", "m2", "m3")]
    found = server.ok("List", kind="disk", project="marks", selector="old")["items"]
    assert [item["metadata"]["name"] for item in found] == ["m1", "m3"]
    both = cli("label projects,disks -l tier=y -p marks both=1")
    assert both.out == "disk/m2 labeled\n"
    nothing = cli("label disks -l no=such -p marks both=1")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing is selected\n")


def test_a_dry_run_changes_nothing(server: Server, cli: Any) -> None:
    server.ok("Apply", document=disk("d1"))
    assert cli("label disk d1 a=b --dry-run=server").out == "disk/d1 labeled (dry run)\n"
    assert labels(server, "d1") == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("disk x", "which label? give at least one"),
        ("disk x a=b a-", "cannot be set and taken off at once"),
        ("disk x a=b a=c", "is given two values"),
        ("a=b", "name a kind"),
        ("disk a=b", "which disk? give a name"),
        ("disk x --all a=b", "no names"),
        ("disk --all -l a=b a=b", "exclude each other"),
        ("disk x -A a=b", "-A needs --all"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli: Any, words: str, told: str) -> None:
    done = cli(f"label {words}")
    assert done.code == 2
    assert told in done.err


def test_a_missing_entity_is_told(cli: Any) -> None:
    assert cli("label disk nobody a=b").code == 3
