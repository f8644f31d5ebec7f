"""`miren events`, and what `miren describe` tells of events and of who holds a deletion back."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest

from tests.servers import Server, disk, sandbox, wait_until

HOLD = "example.dev/hold"


def make_trouble(server: Server, *places: tuple[str, str]) -> None:
    """Make sandboxes whose image is nowhere, and wait until that was recorded."""
    for project, name in places:
        server.make_project(project)
        document = sandbox(name)
        document["spec"]["containers"][0]["image"] = "nowhere"
        server.ok("Apply", document=document, project=project)
    for project, name in places:
        wait_until(partial(events_of, server, project, name), told="an event")


def events_of(server: Server, project: str, name: str) -> list[dict[str, object]]:
    found = server.ok("Events", kind="sandbox", name=name, project=project)["events"]
    assert isinstance(found, list)
    return found


def test_what_went_wrong_can_be_read_in_a_table(server: Server) -> None:
    make_trouble(server, ("ev-table", "lost"))
    done = server.cli("events", "-p", "ev-table")
    assert done.code == 0, done.err
    head, *rows = done.lines
    assert re.split(r"\s{2,}", head) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    (row,) = rows
    cells = re.split(r"\s{2,}", row)
    assert cells[1:4] == ["Warning", "ImageNotFound", "sandbox/lost"]
    assert "nowhere" in cells[4]
    wide = server.cli("events", "-p", "ev-table", "-o", "wide")
    assert re.split(r"\s{2,}", wide.lines[1])[4] == "sandboxcontroller"


def test_what_came_often_is_one_line_with_a_count(server: Server) -> None:
    make_trouble(server, ("ev-count", "lost"))
    wait_until(lambda: events_of(server, "ev-count", "lost")[0]["count"] != 1)
    done = server.cli("events", "sandbox/lost", "-p", "ev-count")
    assert len(done.lines) == 2
    assert re.match(r"\d+s \(x\d+ over \d+s\)  ", done.lines[1])


def test_events_are_of_a_project_a_kind_an_entity_or_all(server: Server) -> None:
    make_trouble(server, ("ev-one", "lost"), ("ev-one", "other"), ("ev-two", "lost"))

    def objects(*words: str) -> set[str]:
        done = server.cli("events", *words, "-o", "json")
        assert done.code == 0, done.err
        items = json.loads(done.out)["items"]
        return {f"{item['kind']}/{item['project']}/{item['name']}" for item in items}

    both = {"Sandbox/ev-one/lost", "Sandbox/ev-one/other"}
    assert objects("-p", "ev-one") == both
    assert objects("sandboxes", "-p", "ev-one") == both
    assert objects("sb", "other", "-p", "ev-one") == {"Sandbox/ev-one/other"}
    assert objects("disks", "-p", "ev-one") == set()
    assert objects("-A") >= {*both, "Sandbox/ev-two/lost"}
    assert objects("sb", "-A") >= {*both, "Sandbox/ev-two/lost"}
    assert objects("-p", "ev-one", "--types", "Normal") == set()
    assert objects("-p", "ev-one", "--types", "normal,warning") == both
    everywhere = server.cli("events", "-A")
    assert everywhere.lines[0].startswith("PROJECT  ")
    assert server.cli("get", "events", "-p", "ev-one").lines[0].startswith("LAST SEEN")


def test_events_outlive_their_entity_but_are_not_told_of_the_next_one(server: Server) -> None:
    make_trouble(server, ("ev-gone", "lost"))
    assert "Events:" in server.cli("describe", "sb/lost", "-p", "ev-gone").lines
    server.ok("Delete", kind="sandbox", name="lost", project="ev-gone")
    server.ok("Wait", kind="sandbox", name="lost", project="ev-gone", for_="delete")
    found = server.cli("events", "sb/lost", "-p", "ev-gone")
    assert "ImageNotFound" in found.out
    server.ok("Apply", document=sandbox("lost"), project="ev-gone")
    assert "ImageNotFound" not in server.cli("describe", "sb/lost", "-p", "ev-gone").out


def test_where_there_are_none_that_is_said(server: Server) -> None:
    server.make_project("ev-none")
    done = server.cli("events", "-p", "ev-none")
    assert (done.code, done.out) == (0, "")
    assert done.err == "no events in project 'ev-none'\n"
    done = server.cli("events", "sb/nobody", "-p", "ev-none")
    assert done.err == "no events of sb/nobody within the last hour\n"
    assert server.cli("get", "events", "-p", "ev-none").err == "no events in project 'ev-none'\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("events nothing", 3, "nothing"),
        ("events sb/a/b", 2, "KIND/NAME"),
        ("events sb a b", 2, "KIND/NAME"),
        ("events sb/a -A", 2, "exclude each other"),
        ("events --types Fatal", 2, "say Normal or Warning"),
        ("events -o yaml", 2, "wide or json"),
        ("get events -o yaml", 2, "-o wide or -o json"),
        ("get events -l a=b", 2, "not selected"),
    ],
)
def test_what_cannot_be_asked_is_refused(server: Server, words: str, code: int, told: str) -> None:
    done = server.cli(*words.split())
    assert done.code == code, done.err
    assert told in done.err


def test_what_is_new_can_be_followed(server: Server) -> None:
    server.make_project("ev-new")
    with server.stream("FollowEvents", project="ev-new") as messages:
        assert messages.next()["events"] == []
        make_trouble(server, ("ev-new", "lost"))
        found = next(message["events"] for message in messages if message["events"])
        assert [(event["reason"], event["name"]) for event in found] == [("ImageNotFound", "lost")]
        again = next(message["events"] for message in messages if message["events"])
        assert again[0]["count"] > found[0]["count"]
        server.ok("Delete", kind="sandbox", name="lost", project="ev-new")
    with server.stream("FollowEvents", project="ev-new") as messages:
        told = [messages.next()]
        make_trouble(server, ("ev-new", "new"))
        while not any(event["name"] == "new" for event in told[-1]["events"]):
            told.append(messages.next())
        every = [(e["name"], e["count"]) for message in told for e in message["events"]]
        assert len(every) == len(set(every)), "what was told is not told again"
    following = server.popen("events", "sb/new", "-p", "ev-new", "-w")
    try:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("LAST SEEN")
        for _ in range(2):
            assert "sandbox/new" in following.stdout.readline()
    finally:
        following.kill()
        following.communicate(timeout=20)


def test_a_sandbox_tells_of_its_life(server: Server) -> None:
    server.make_project("ev-life")
    server.ok("Apply", document=sandbox("hello"), project="ev-life")
    server.ok("Wait", kind="sandbox", name="hello", project="ev-life", for_="phase=running")
    wait_until(lambda: len(events_of(server, "ev-life", "hello")) >= 2)
    lines = server.cli("describe", "sb/hello", "-p", "ev-life").lines
    shown = [re.split(r"\s{2,}", line.strip()) for line in lines[lines.index("Events:") + 1 :]]
    assert shown[0] == ["LAST SEEN", "TYPE", "REASON", "FROM", "MESSAGE"]
    assert [cells[1:4] for cells in shown[1:]] == [
        ["Normal", "Created", "sandboxcontroller"],
        ["Normal", "Started", "sandboxcontroller"],
    ]
    server.ok("Delete", kind="sandbox", name="hello", project="ev-life")
    server.ok("Wait", kind="sandbox", name="hello", project="ev-life", for_="delete")
    wait_until(lambda: events_of(server, "ev-life", "hello")[-1]["reason"] == "Stopped")


def test_a_deletion_tells_who_holds_it_back(server: Server) -> None:
    server.make_project("ev-held")
    document = disk("held")
    document["metadata"]["finalizers"] = [HOLD, "miren.dev/unset"]
    where = {"kind": "disk", "name": "held", "project": "ev-held"}
    server.ok("Apply", document=document, project="ev-held")
    server.ok("Wait", **where, for_="condition=Ready")
    server.ok("Delete", **where)
    wait_until(lambda: "miren.dev/disk" not in str(server.ok("Get", **where)))
    done = server.cli("describe", "disk/held", "-p", "ev-held")
    at = next(place for place, line in enumerate(done.lines) if line.startswith("Deleting:"))
    assert f"blocked by finalizer {HOLD} (its controller is not running)" in done.lines[at + 1]
    answer = server.ok("Finalizers", kind="disk")["controllers"]
    assert answer["miren.dev/disk"] == "diskcontroller"
    assert answer["miren.dev/orphan"] == "garbage-disk"
    assert server.ok("Finalizers", kind="project")["controllers"]["miren.dev/project"]
    assert HOLD not in answer
    server.ok("Patch", **where, patch={"metadata": {"finalizers": []}})
