"""Selections, history, patches, preconditions and references over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.test_wire import refused
from tests.servers import Server, disk


def app(name: str, project: str, **labels: str) -> dict[str, Any]:
    return {
        "kind": "App",
        "metadata": {"name": name, "project": project, "labels": labels},
        "spec": {"image": "hello", "services": [{"name": "web", "scale": 0}]},
    }


def route(name: str, app: str, project: str) -> dict[str, Any]:
    return {
        "kind": "Route",
        "metadata": {"name": name, "project": project},
        "spec": {"host": f"{name}.{project}.test", "app": app},
    }


def names(answer: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


def test_an_entity_is_read_as_it_was(server: Server) -> None:
    made = server.ok("Create", entity=disk("past", labels={"at": "first"}))["entity"]
    server.ok("Patch", kind="disk", name="past", patch={"metadata": {"labels": {"at": "last"}}})
    then = made["metadata"]["resourceVersion"]
    found = server.ok("Get", kind="disk", name="past", revision=then)["entity"]
    assert found["metadata"]["labels"] == {"at": "first"}
    assert found["metadata"]["resourceVersion"] == then
    before = str(int(then) - 1)
    refused(server.call("Get", kind="disk", name="past", revision=before), 404, "not_found")
    refused(server.call("Get", kind="disk", name="past", revision="x"), 400, "invalid_argument")


def test_managers_are_told_beside_entities_when_asked(server: Server) -> None:
    server.ok("Apply", document=disk("managed"), manager="ann")
    server.ok(
        "Patch",
        kind="disk",
        name="managed",
        patch=[
            {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
        ],
        manager="bob",
    )
    told = {"ann": ["/spec/size"], "bob": ["/metadata/labels/a"]}
    answer = server.ok("Get", kind="disk", name="managed", managers=True)
    assert answer["managers"] == told
    assert "managedFields" not in answer["entity"]["metadata"]
    assert "managers" not in server.ok("Get", kind="disk", name="managed")
    listed = server.ok("List", kind="disk", selector="a=b", managers=True)
    assert (names(listed), listed["managers"]) == (["managed"], [told])


def test_entities_are_selected_by_sets_of_labels(server: Server) -> None:
    server.make_project("sets")
    for name, labels in (("a", {"tier": "x"}), ("b", {"tier": "y", "old": ""}), ("c", {})):
        server.ok("Create", entity=disk(name, project="sets", labels=labels))

    def chosen(selector: str) -> list[str]:
        return names(server.ok("List", kind="disk", project="sets", selector=selector))

    assert chosen("tier in (x,y)") == ["a", "b"]
    assert chosen("tier notin (x),!old") == ["c"]
    assert chosen("tier!=x,old") == ["b"]
    refused(server.call("List", kind="disk", selector="a b"), 400, "invalid_argument")
    both = server.call("List", kind="disk", selector="a", labels={"b": "c"})
    assert "exclude each other" in both.json["message"]


def test_entities_are_selected_by_what_they_refer_to(server: Server) -> None:
    server.make_project("refer")
    for name in ("web", "shop"):
        server.ok("Create", entity=app(name, "refer"))
    for name, to in (("r1", "web"), ("r2", "shop"), ("r3", "web")):
        server.ok("Create", entity=route(name, to, "refer"))
    target = {"kind": "apps", "name": "web"}
    asked: dict[str, Any] = {"kind": "route", "project": "refer", "refersTo": target}
    assert names(server.ok("List", **asked)) == ["r1", "r3"]
    page = server.ok("List", **asked, limit=1)
    assert names(server.ok("List", **asked, limit=5, token=page["token"])) == ["r3"]
    assert names(server.ok("List", **asked, tag="nothing")) == []
    detail = refused(server.call("List", kind="route", tag="x"), 400, "invalid_argument")
    assert detail["type"] == "InvalidInput"
    refused(
        server.call("List", kind="route", refersTo={"kind": "nope", "name": "x"}), 404, "not_found"
    )

    told = server.ok("Referrers", kind="app", name="web", project="refer")["referrers"]
    routes = [each for each in told if each["kind"] == "route"]
    assert routes == [
        {"kind": "route", "project": "refer", "name": name, "attribute": "spec.app"}
        for name in ("r1", "r3")
    ]
    nobody = server.ok("Referrers", kind="app", name="web", project="refer", tag="nothing")
    assert nobody == {"referrers": []}


def test_pages_show_one_revision(server: Server) -> None:
    server.make_project("paged")
    for number in range(5):
        server.ok("Create", entity=disk(f"p{number}", project="paged"))
    first = server.ok("List", kind="disk", project="paged", limit=2)
    server.ok("Create", entity=disk("p11", project="paged"))
    rest = server.ok("List", kind="disk", project="paged", limit=9, token=first["token"])
    assert names(first) + names(rest) == [f"p{number}" for number in range(5)]
    assert (rest["revision"], rest["token"]) == (first["revision"], "")
    other = server.call("List", kind="disk", project="sets", limit=2, token=first["token"])
    assert "another list" in refused(other, 400, "invalid_argument")["problems"][0]["message"]


def test_patches_of_both_kinds_say_what_they_did(server: Server) -> None:
    server.ok("Create", entity=disk("patched"))
    who: dict[str, Any] = {"kind": "disk", "name": "patched"}
    grow = {"spec": {"size": "2Gi"}}
    dry = server.ok("Patch", **who, patch=grow, dryRun=True)
    assert (dry["action"], dry["entity"]["spec"]["size"]) == ("configured", "2Gi")
    assert server.ok("Get", **who)["entity"]["spec"]["size"] == "1Gi"
    assert server.ok("Patch", **who, patch=grow)["action"] == "configured"
    assert server.ok("Patch", **who, patch=grow)["action"] == "unchanged"
    test = {"op": "test", "path": "/spec/size", "value": "1Gi"}
    replace = {"op": "replace", "path": "/spec/size", "value": "9Gi"}
    refused(server.call("Patch", **who, patch=[test, replace]), 409, "aborted")
    assert server.ok("Patch", **who, patch=[replace])["entity"]["spec"]["size"] == "9Gi"


@pytest.mark.parametrize("patch", [None, "x", [1], 3])
def test_what_is_no_patch_is_refused(server: Server, patch: Any) -> None:
    server.ok("Apply", document=disk("unpatched"))
    answer = server.call("Patch", kind="disk", name="unpatched", patch=patch)
    refused(answer, 400, "invalid_argument")


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"status": {"phase": "failed"}}, ["status"]),
        ({"metadata": {"name": "y"}}, ["metadata", "name"]),
        ({"spec": {"size": "-1"}}, ["spec", "size"]),
        ([{"op": "remove", "path": "/metadata/uid"}], ["metadata", "uid"]),
    ],
)
def test_what_cannot_be_patched_is_named(server: Server, patch: Any, path: list[str]) -> None:
    server.ok("Apply", document=disk("unpatched"))
    answer = server.call("Patch", kind="disk", name="unpatched", patch=patch)
    assert refused(answer, 400, "invalid_argument")["problems"][0]["path"] == path


def test_a_delete_is_guarded_and_can_be_tried(server: Server) -> None:
    role = {"kind": "Role", "metadata": {"name": "guarded"}}
    made = server.ok("Create", entity=role)["entity"]["metadata"]
    who: dict[str, Any] = {"kind": "role", "name": "guarded"}
    refused(server.call("Delete", **who, uid="another"), 409, "aborted")
    refused(server.call("Delete", **who, revision="1"), 409, "aborted")
    refused(server.call("Delete", **who, propagation="sideways"), 400, "invalid_argument")
    assert server.ok("Delete", **who, dryRun=True)["gone"] is True
    assert server.ok("Get", **who)["entity"]["metadata"]["uid"] == made["uid"]
    held = server.ok("Delete", **who, uid=made["uid"], revision=made["resourceVersion"])
    assert held["gone"] is True


def test_a_foreground_delete_waits_behind_its_finalizer(server: Server) -> None:
    server.make_project("fore")
    server.ok("Create", entity=disk("owner", project="fore"))
    owner = server.ok("Get", kind="disk", name="owner", project="fore")["entity"]
    owners = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": "Disk",
            "name": "owner",
            "uid": owner["metadata"]["uid"],
        }
    ]
    head = {"name": "owned", "project": "fore", "ownerReferences": owners}
    server.ok("Create", entity={"kind": "Role", "metadata": head})
    left = server.ok(
        "Delete", kind="disk", name="owner", project="fore", propagation="foreground", dryRun=True
    )
    assert "miren.dev/foreground" in left["entity"]["metadata"]["finalizers"]


def test_a_dry_run_of_apply_shows_both_sides(server: Server) -> None:
    answer = server.ok("Apply", document=disk("sides"), dryRun=True)
    assert answer["before"] is None
    server.ok("Apply", document=disk("sides"))
    answer = server.ok("Apply", document=disk("sides", "2Gi"), dryRun=True)
    assert answer["before"]["spec"]["size"] == "1Gi"
    assert answer["entity"]["spec"]["size"] == "2Gi"
    assert "before" not in server.ok("Apply", document=disk("sides", "2Gi"))


def test_an_update_takes_over_for_its_manager(server: Server) -> None:
    document = {"kind": "Service", "metadata": {"name": "taken"}, "spec": {"addresses": ["a"]}}
    made = server.ok("Apply", document=document, manager="ann")["entity"]
    wanted = {**made, "spec": {**made["spec"], "addresses": ["b"]}}
    server.ok("Update", entity=wanted, manager="bob")
    answer = server.ok("Get", kind="service", name="taken", managers=True)
    assert answer["managers"] == {"bob": ["/spec/addresses"]}
