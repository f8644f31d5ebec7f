"""Watches over raw HTTP: what is there, what comes, and going on after a break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.servers import Messages, Server, wait_until

BOB = {"spec": {"options": {"owner": "bob"}}}


def inert(name: str, **labels: str) -> dict[str, Any]:
    """Return a document that no controller touches."""
    return {
        "kind": "DiskClass",
        "metadata": {"name": name, "labels": labels},
        "spec": {"provider": "folder", "options": {"owner": "ann"}},
    }


def described(message: dict[str, Any]) -> tuple[str, str]:
    return message["type"], message["entity"]["metadata"]["name"]


def events(stream: Messages, count: int) -> list[dict[str, Any]]:
    """Return that many messages that are no bookmarks."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = stream.next()
        if message["type"] != "BOOKMARK":
            found.append(message)
    return found


def test_a_watch_begins_with_what_is_there_and_goes_on_with_what_comes(server: Server) -> None:
    server.ok("Create", entity=inert("before"))
    with server.stream("Watch", kind="diskclass") as stream:
        assert ("ADDED", "before") in map(described, stream.until("BOOKMARK")[:-1])
        made = server.ok("Create", entity=inert("during"))["entity"]
        server.ok("Patch", kind="diskclass", name="during", patch=BOB)
        server.ok("Delete", kind="diskclass", name="during")
        added, modified, deleted = events(stream, 3)
    assert described(added) == ("ADDED", "during")
    assert added["revision"] == made["metadata"]["resourceVersion"]
    assert described(modified) == ("MODIFIED", "during")
    assert modified["entity"]["spec"] == {
        "provider": "folder",
        "default": False,
        "remoteOnly": False,
        **BOB["spec"],
    }
    assert described(deleted) == ("DELETED", "during")
    assert int(deleted["revision"]) > int(modified["revision"]) > int(added["revision"])


def test_a_watch_that_resumes_has_no_gap_and_no_repeat(server: Server) -> None:
    start = server.ok("List", kind="diskclass")["revision"]
    seen: list[tuple[str, str]] = []
    after = start
    for turn in range(5):
        names = [f"resume-{turn}-{number}" for number in range(4)]
        server.ok("Create", entity=inert(names[0]))
        server.ok("Create", entity=inert(names[1]))
        with server.stream("Watch", kind="diskclass", after=after) as stream:
            server.ok("Create", entity=inert(names[2]))
            # The fourth comes while nobody watches.
            for message in events(stream, 2 if turn == 0 else 3):
                seen.append(described(message))
                after = message["revision"]
        server.ok("Create", entity=inert(names[3]))
    with server.stream("Watch", kind="diskclass", after=after) as stream:
        seen += map(described, events(stream, 20 - len(seen)))
    expected = [("ADDED", f"resume-{t}-{n}") for t in range(5) for n in range(4)]
    assert seen == expected


def test_a_watch_that_breaks_amid_what_is_there_resumes_without_a_gap(server: Server) -> None:
    """Names and revisions run in opposite orders: the first name is the newest entity."""
    names = [f"amid-{number}" for number in reversed(range(4))]
    for name in names:
        server.ok("Create", entity=inert(name, sort="amid"))
    chosen: dict[str, Any] = {"kind": "diskclass", "labels": {"sort": "amid"}}
    for count in range(1, 4):
        with server.stream("Watch", **chosen) as stream:
            seen = events(stream, count)
        with server.stream("Watch", **chosen, after=seen[-1]["revision"]) as stream:
            seen += events(stream, 4 - count)
        assert sorted(message["entity"]["metadata"]["name"] for message in seen) == sorted(names)


def test_a_bookmark_can_be_resumed_from(server: Server) -> None:
    with server.stream("Watch", kind="diskclass") as stream:
        mark = stream.until("BOOKMARK")[-1]["revision"]
    server.ok("Create", entity=inert("marked"))
    with server.stream("Watch", kind="diskclass", after=mark) as stream:
        assert described(events(stream, 1)[0]) == ("ADDED", "marked")


def test_a_change_tells_what_it_was_before_when_asked(server: Server) -> None:
    server.ok("Create", entity=inert("changed"))
    after = server.ok("List", kind="diskclass")["revision"]
    server.ok("Patch", kind="diskclass", name="changed", patch=BOB)
    for with_old in (True, False):
        with server.stream("Watch", kind="diskclass", after=after, withOld=with_old) as stream:
            (message,) = events(stream, 1)
        assert message["type"] == "MODIFIED"
        assert message["entity"]["spec"]["options"] == {"owner": "bob"}
        old = message.get("old", {"spec": {"options": None}})
        assert old["spec"]["options"] == ({"owner": "ann"} if with_old else None)


def test_what_leaves_a_selection_is_told(server: Server) -> None:
    server.ok("Create", entity=inert("tiered", tier="front"))
    with server.stream("Watch", kind="diskclass", selector="tier in (front)") as stream:
        assert described(stream.until("BOOKMARK")[0]) == ("ADDED", "tiered")
        for tier in ("back", "front"):
            patch = {"metadata": {"labels": {"tier": tier}}}
            server.ok("Patch", kind="diskclass", name="tiered", patch=patch)
        found = [described(message) for message in events(stream, 2)]
    assert found == [("LEFT", "tiered"), ("ADDED", "tiered")]


def test_one_entity_can_be_watched_by_name(server: Server) -> None:
    server.ok("Create", entity=inert("named"))
    server.ok("Create", entity=inert("other"))
    with server.stream("Watch", kind="diskclass", name="named") as stream:
        assert [m["type"] for m in stream.until("BOOKMARK")] == ["ADDED", "BOOKMARK"]
        server.ok("Patch", kind="diskclass", name="other", patch=BOB)
        server.ok("Patch", kind="diskclass", name="named", patch=BOB)
        assert described(events(stream, 1)[0]) == ("MODIFIED", "named")
    assert server.call("Watch", kind="diskclass", name="nobody").status == 404


def test_rows_are_watched_as_entities_are(server: Server) -> None:
    server.ok("Create", entity=inert("rowed"))
    with server.stream("Watch", kind="diskclass", table=True, name="rowed") as stream:
        first = stream.until("BOOKMARK")[0]
        assert first["columns"][0] == "NAME"
        assert first["rows"][0][0] == "rowed"
        server.ok("Delete", kind="diskclass", name="rowed")
        last = events(stream, 1)[0]
    assert (last["rows"][0][0], last["rows"][0][-1]) == ("rowed", "deleted")


def test_a_watch_ends_with_an_error_line_when_its_time_is_over(server: Server) -> None:
    with server.stream("Watch", kind="diskclass", timeout_ms=200) as stream:
        *_, last = stream
        assert last["error"]["code"] == "deadline_exceeded"
        assert stream.response.read() == b""


def test_a_watch_is_refused_with_a_status_before_it_begins(server: Server) -> None:
    answer = server.call("Watch", kind="diskclass", after="999999")
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("count", [1, 8])
def test_a_client_that_leaves_ends_its_watch(server: Server, count: int) -> None:
    wait_until(lambda: server.connections() == 0)
    streams = [server.stream("Watch", kind="diskclass") for _ in range(count)]
    for stream in streams:
        stream.__enter__().until("BOOKMARK")
    assert server.connections() == count
    for stream in streams:
        stream.__exit__(None, None, None)
    # Nothing is written to them meanwhile: the server has to notice by itself.
    wait_until(lambda: server.connections() == 0)
    assert "call failed" not in server.log


def test_lines_are_json_objects_of_their_own(server: Server) -> None:
    server.ok("Create", entity=inert("lines"))
    with server.stream("Watch", kind="diskclass") as stream:
        response = stream.response
        assert response.getheader("Content-Type") == "application/x-ndjson"
        assert response.getheader("Transfer-Encoding") == "chunked"
        line = response.readline()
    assert line.endswith(b"\n")
    assert set(json.loads(line)) == {"type", "revision", "entity"}
