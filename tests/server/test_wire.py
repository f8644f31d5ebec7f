"""The entity service as a stranger sees it: raw HTTP over the unix socket, none of our clients."""

from __future__ import annotations

from typing import Any

from tests.servers import Answer, Server, disk, sandbox


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check the shape of an error and return its detail."""
    body = answer.json
    assert (answer.status, body["code"]) == (status, code), body
    assert answer.type == "application/json"
    assert set(body) == {"code", "message", "details"}
    assert isinstance(body["message"], str)
    assert body["message"]
    detail = body["details"][0]
    assert isinstance(detail, dict)
    assert isinstance(detail["type"], str)
    return detail


def test_an_entity_is_created_read_changed_and_deleted(server: Server) -> None:
    made = server.ok("Create", entity=disk("one", labels={"a": "b"}))["entity"]
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["uid"]
    assert made["metadata"]["project"] == "default"
    server.ok("Wait", kind="disk", name="one", for_="phase=ready")

    read = server.ok("Get", kind="dk", name="one")["entity"]
    assert read["spec"] == {"size": "1Gi"}
    assert read["status"]["phase"] == "ready"

    patch = {"spec": {"size": "3Gi"}, "metadata": {"labels": {"a": None, "c": "d"}}}
    patched = server.ok("Patch", kind="disks", name="one", patch=patch)["entity"]
    assert patched["spec"] == {"size": "3Gi"}
    assert patched["metadata"]["generation"] == 2
    assert int(patched["metadata"]["resourceVersion"]) > int(read["metadata"]["resourceVersion"])
    assert patched["metadata"]["labels"] == {"c": "d"}

    uid = made["metadata"]["uid"]
    assert server.ok("Delete", kind="disk", name="one", uid=uid)["gone"] is False
    gone = server.ok("Wait", kind="disk", name="one", for_="delete", uid=uid)
    assert gone == {"entity": None, "kind": "disk"}
    assert server.call("Get", kind="disk", name="one").status == 404


def test_an_entity_that_nothing_holds_is_gone_at_once(server: Server) -> None:
    server.ok("Create", entity={"kind": "Role", "metadata": {"name": "reader"}})
    assert server.ok("Delete", kind="role", name="reader")["gone"] is True


def test_status_is_written_apart_from_the_spec(server: Server) -> None:
    entity = {"kind": "Service", "metadata": {"name": "team"}, "spec": {"addresses": ["a"]}}
    made = server.ok("Create", entity=entity)["entity"]
    changed = {**made, "spec": {"addresses": ["b"]}, "status": {"address": "a"}}
    written = server.ok("UpdateStatus", entity=changed)["entity"]
    assert written["status"] == {"address": "a"}
    assert written["spec"]["addresses"] == ["a"]
    assert written["metadata"]["generation"] == 1
    again = {**written, "spec": {"addresses": ["b"]}, "status": {"address": "b"}}
    updated = server.ok("Update", entity=again)["entity"]
    assert updated["status"] == {"address": "a"}
    assert updated["spec"]["addresses"] == ["b"]


def test_apply_says_created_then_unchanged_then_configured(server: Server) -> None:
    def apply(size: str, **more: Any) -> str:
        return str(server.ok("Apply", document=disk("applied", size), **more)["action"])

    assert apply("1Gi", dryRun=True) == "created"
    assert server.call("Get", kind="disk", name="applied").status == 404
    assert apply("1Gi") == "created"
    assert apply("1Gi") == "unchanged"
    assert apply("2Gi", dryRun=True) == "configured"
    assert apply("2Gi") == "configured"
    detail = refused(
        server.call("Apply", document=disk("applied", "3Gi"), manager="other"), 409, "aborted"
    )
    assert "--force" in detail["hint"]
    assert apply("3Gi", manager="other", force=True) == "configured"


def test_a_dry_run_of_create_and_update_stores_nothing(server: Server) -> None:
    server.ok("Create", entity=disk("dry"), dryRun=True)
    assert server.call("Get", kind="disk", name="dry").status == 404
    made = server.ok("Create", entity={"kind": "Service", "metadata": {"name": "dry"}})["entity"]
    server.ok("Update", entity={**made, "spec": {"addresses": ["a"]}}, dryRun=True)
    assert server.ok("Get", kind="service", name="dry")["entity"] == made


def test_a_list_is_at_one_revision_and_can_be_selected(server: Server) -> None:
    server.make_project("lists")
    for name, tier in (("l1", "front"), ("l2", "back"), ("l3", "front")):
        server.ok("Create", entity=sandbox(name, project="lists", labels={"tier": tier}))
    found = server.ok("List", kind="sandboxes", project="lists")
    assert [one["metadata"]["name"] for one in found["items"]] == ["l1", "l2", "l3"]
    assert found["token"] == ""
    assert found["revision"].isdecimal()
    assert (
        len(server.ok("List", kind="sb", project="lists", labels={"tier": "front"})["items"]) == 2
    )
    assert server.ok("List", kind="sb", project="lists", fields={"spec.node": "x"})["items"] == []
    page = server.ok("List", kind="sb", project="lists", limit=2)
    assert (len(page["items"]), bool(page["token"])) == (2, True)
    names = {
        one["metadata"]["name"] for one in server.ok("List", kind="sb", allProjects=True)["items"]
    }
    assert {"l1", "l2", "l3"} <= names
    assert server.ok("List", kind="sb", project="empty")["items"] == []


def test_tables_come_instead_of_entities(server: Server) -> None:
    server.make_project("tables")
    server.ok("Create", entity=sandbox("shown", project="tables"))
    found = server.ok("List", kind="sb", project="tables", table=True)
    assert "items" not in found
    assert found["columns"][:2] == ["NAME", "PHASE"]
    assert found["rows"][0][0] == "shown"
    assert (found["plural"], found["scope"]) == ("sandboxes", "project")
    one = server.ok("Get", kind="sb", name="shown", project="tables", table=True)
    assert len(one["rows"]) == 1
    wide = server.ok("List", kind="sb", allProjects=True, table=True)
    assert wide["columns"][:2] == ["PROJECT", "NAME"]


def test_wait_sees_phases_conditions_and_what_comes_later(server: Server) -> None:
    server.ok("Create", entity=disk("awaited"))
    for condition in ("phase=ready", "condition=Ready", "condition=Ready=True"):
        found = server.ok("Wait", kind="disk", name="awaited", for_=condition, timeoutSeconds=10)
        assert found["entity"]["status"]["phase"] == "ready"
    answer = server.call(
        "Wait", kind="disk", name="awaited", for_="condition=Ready=False", timeoutSeconds=0.05
    )
    detail = refused(answer, 504, "deadline_exceeded")
    assert detail["entity"] == "disk/awaited"
    assert "ready" in answer.json["message"]
    answer = server.call("Wait", kind="disk", name="none", for_="phase=ready", timeoutSeconds=0.05)
    assert "does not exist" in answer.json["message"]


def test_kinds_are_told_with_all_their_names(server: Server) -> None:
    kinds = {kind["name"]: kind for kind in server.ok("Kinds")["kinds"]}
    assert kinds["Sandbox"] == {
        "name": "Sandbox",
        "plural": "sandboxes",
        "short": ["sb"],
        "apiVersion": "miren.dev/v1alpha1",
        "scope": "project",
        "doc": kinds["Sandbox"]["doc"],
        "references": [{"path": "spec.volumes.disk", "to": ["Disk"], "owner": False}],
    }
    assert kinds["Node"]["scope"] == "cluster"
    assert kinds["Sandbox"]["doc"]


def test_every_refusal_has_its_code(server: Server) -> None:
    server.ok("Create", entity=disk("taken"))
    detail = refused(server.call("Create", entity=disk("taken")), 409, "already_exists")
    assert (detail["type"], detail["entity"]) == ("AlreadyExists", "disk/taken")

    detail = refused(server.call("Get", kind="disk", name="takn"), 404, "not_found")
    assert detail["hint"] == "did you mean 'taken'?"
    detail = refused(server.call("Get", kind="dsk", name="x"), 404, "not_found")
    assert "disk" in detail["hint"]

    stale = server.ok("Get", kind="disk", name="taken")["entity"]
    stale["metadata"]["resourceVersion"] = "1"
    for method in ("Update", "UpdateStatus"):
        assert (
            "read it again" in refused(server.call(method, entity=stale), 409, "aborted")["hint"]
        )
    answer = server.call("Delete", kind="disk", name="taken", uid="another")
    assert refused(answer, 409, "aborted")["entity"] == "disk/taken"

    needy = sandbox("needy")
    needy["spec"]["volumes"] = [{"disk": "nowhere", "path": "/data"}]
    detail = refused(server.call("Create", entity=needy), 400, "failed_precondition")
    assert detail["type"] == "MissingRef"

    detail = refused(server.call("Create", entity=disk("bad", "-1")), 400, "invalid_argument")
    assert detail["problems"][0]["path"] == ["spec", "size"]
    bad = disk("bad")
    bad["spec"] = {"sizee": "1Gi", "filesystem": "fat"}
    detail = refused(server.call("Create", entity=bad), 400, "invalid_argument")
    assert [one["path"][-1] for one in detail["problems"]] == ["filesystem", "sizee"]
    assert "size" in detail["problems"][1]["hint"]
    assert server.call("Get", kind="disk", name="bad").status == 404


def test_an_immutable_attribute_stays(server: Server) -> None:
    document = disk("fixed")
    document["spec"]["filesystem"] = "ext4"
    server.ok("Create", entity=document)
    answer = server.call("Patch", kind="disk", name="fixed", patch={"spec": {"filesystem": "xfs"}})
    detail = refused(answer, 400, "invalid_argument")
    assert detail["problems"][0]["path"] == ["spec", "filesystem"]
