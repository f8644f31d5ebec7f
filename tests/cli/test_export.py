"""`miren export | miren apply -f -`: everything comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from miren.base.yaml import parse
from miren.entities.gen import KINDS
from miren.entities.kinds import Kinds
from tests.servers import Server, disk, running_server, sandbox

ODD = {
    "OCTAL": "010",
    "OTHER_OCTAL": "0o17",
    "YES": "yes",
    "EXPONENT": "1e3",
    "DATE": "2001-01-01",
    "TIME": "12:30",
    "EMPTY": "",
    "NULL": "null",
    "LINES": "one\n  two\n\n",
    "TAB": "a\tb \n",
    "WORDS": "ümläut 😀 \u2028 # not: a comment",
    "MARKER": "---\nx",
    "LONG": "word " * 60,
}


def entity(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


#: Entities of every kind that people write, in no good order.
GIVEN = (
    entity("Project", "odd", {"owner": "010"}, labels={"n": "1"}, annotations={"note": "a: b\n"}),
    entity("Project", "shop", {}),
    entity("App", "web", {"services": [{"name": "web", "scale": 0}], "env": ODD}, project="shop"),
    entity("App", "bare", {"image": "hello"}, project="shop", annotations=ODD),
    entity("Route", "r", {"host": "*.shop.test", "app": "web", "tls": False}, project="shop"),
    entity("Service", "svc", {"selector": ["app=web"], "ports": [80]}, project="shop"),
    entity("Endpoints", "ep", {"service": "svc", "endpoints": []}, project="shop"),
    entity("NetworkPolicy", "np", {"ingress": [{"cidrs": ["10.0.0.0/8"]}]}, project="odd"),
    entity("Role", "reader", {"rules": [{"kinds": ["*"], "verbs": ["get", "*"]}]}, project="odd"),
    entity("RoleBinding", "rb", {"role": "reader", "subjects": [{"name": "ann"}]}, project="odd"),
    entity("RuntimeClass", "fast", {"handler": "runsc", "options": {"0x1f": "off", "~": "-1"}}),
    entity("DiskClass", "plain", {"provider": "folder", "options": ODD}),
    disk("data", "1500Mi", project="odd", labels={"tier": "0.5"}),
    entity("DiskSnapshot", "snap", {"disk": "data"}, project="odd"),
    entity("DiskMount", "mount", {"disk": "data", "node": "elsewhere"}, project="odd"),
    entity("Pool", "pool", {"containers": [{"image": "hello", "env": ODD}]}, project="odd"),
    {
        **sandbox("sb", project="odd"),
        "spec": {
            "containers": [{"image": "hello", "command": ["sleep", "1000"]}],
            "volumes": [{"disk": "data", "path": "/data"}],
            "gracePeriod": "100ms",
            "hostname": "1e3",
        },
    },
)
#: Made by controllers, or owned by definition.
OWNED = {"Endpoints", "DiskMount", "AppVersion", "Deployment", "DiskLease"}


@pytest.fixture(scope="module")
def server(lone_server: Server) -> Server:
    return lone_server


@pytest.fixture(scope="module")
def filled(server: Server) -> Server:
    left = list(GIVEN)
    while left:  # whatever the order in which they refer to one another
        left = [each for each in left if server.call("Apply", document=each).status != 200]
    return server


@pytest.fixture
def fresh() -> Iterator[Server]:
    with running_server() as other:
        yield other


def documents(text: str) -> list[dict[str, Any]]:
    parsed = parse(text, "export.yaml")
    assert parsed.problems == ()
    return [document.value for document in parsed.documents if isinstance(document.value, dict)]


def names(text: str) -> list[str]:
    return [f"{each['kind'].lower()}/{each['metadata']['name']}" for each in documents(text)]


def test_everything_comes_back_as_it_was(filled: Server, fresh: Server) -> None:
    first = filled.cli("export", "-A")
    assert (first.code, first.err) == (0, "")
    kinds = {document["kind"] for document in documents(first.out)}
    known = {kind.name for kind in Kinds(KINDS)} - {"Secret"}
    assert known - kinds == OWNED
    applied = fresh.cli("apply", "-f", "-", stdin=first.out)
    assert (applied.code, applied.err) == (0, ""), applied
    again = fresh.cli("export", "-A")
    assert again.out == first.out
    onto_itself = filled.cli("apply", "-f", "-", stdin=first.out)
    assert onto_itself.code == 0, onto_itself
    assert all(line.endswith(" unchanged") for line in onto_itself.lines), onto_itself


def test_a_project_is_exported_by_itself(filled: Server) -> None:
    done = filled.cli("export", "-p", "shop")
    assert names(done.out) == ["project/shop", "service/svc", "app/bare", "app/web", "route/r"]
    found = {name for each in documents(done.out) for name in each["metadata"]}
    assert found <= {"name", "project", "labels", "annotations"}
    env = documents(done.out)[3]["spec"]["env"]
    assert {name: value["value"] for name, value in env.items()} == ODD


def test_kinds_and_labels_select(filled: Server) -> None:
    assert names(filled.cli("export", "rt", "services", "-p", "shop").out) == [
        "service/svc",
        "route/r",
    ]
    assert names(filled.cli("export", "disk.miren.dev", "-A", "-l", "tier").out) == ["disk/data"]
    assert "diskclass/plain" in names(filled.cli("export", "diskclasses").out)
    nothing = filled.cli("export", "sb", "-p", "shop", "-l", "no=such")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing to export\n")
    unknown = filled.cli("export", "rout")
    assert unknown.code == 3
    assert "did you mean 'route'?" in unknown.err


def test_named_entities_are_exported_by_themselves(filled: Server) -> None:
    done = filled.cli("export", "route/r", "svc/svc", "-p", "shop")
    assert names(done.out) == ["service/svc", "route/r"]
    assert filled.cli("export", "route/none", "-p", "shop").code == 3
    mixed = filled.cli("export", "route/r", "services", "-p", "shop")
    assert (mixed.code, mixed.out) == (2, "")
    spaced = filled.cli("export", "route", "zzz", "-p", "shop")
    assert "no kind 'zzz'" in spaced.err
    assert "entities as KIND/NAME" in spaced.err


def test_what_is_owned_comes_when_asked_for(filled: Server) -> None:
    done = filled.cli("export", "endpoints", "diskmounts", "-A", "--owned")
    assert names(done.out) == ["diskmount/mount", "endpoints/ep"]
    assert "ownerReferences" not in done.out
    assert "#" not in done.out


def test_an_owner_that_follows_from_nothing_is_named(filled: Server) -> None:
    owner = filled.ok("Get", kind="service", name="svc", project="shop")["entity"]
    uid = owner["metadata"]["uid"]
    reference = {"apiVersion": owner["apiVersion"], "kind": "Service", "name": "svc", "uid": uid}
    head = {"name": "mine", "project": "shop", "ownerReferences": [reference]}
    filled.ok("Create", entity={"kind": "Role", "metadata": head})
    done = filled.cli("export", "roles", "-p", "shop", "--owned")
    assert done.out.startswith("# its owner service/svc is not exported\napiVersion: ")
    filled.ok("Delete", kind="role", name="mine", project="shop")


def test_a_status_comes_when_asked_for_and_is_applied(filled: Server) -> None:
    kind = {"kind": "Service", "name": "told", "project": "shop"}
    made = filled.ok("Create", entity=entity("Service", "told", {}, project="shop"))["entity"]
    condition = {"type": "Ready", "status": "True", "observedGeneration": 1}
    status = {"address": "10.0.0.1", "conditions": [condition], "observedGeneration": 1}
    filled.ok("UpdateStatus", entity={**made, "status": status})
    assert "status" not in filled.cli("export", "services", "-p", "shop").out
    exported = filled.cli("export", "services", "-p", "shop", "--status").out
    filled.ok("Delete", **kind)
    done = filled.cli("apply", "-f", "-", stdin=exported)
    assert done.code == 0, done
    entity_ = filled.ok("Get", **kind)["entity"]
    assert "annotations" not in entity_["metadata"]
    assert entity_["status"]["address"] == "10.0.0.1"
    assert "observedGeneration" not in entity_["status"]
    assert filled.cli("export", "services", "-p", "shop", "--status").out == exported
    filled.ok("Delete", **kind)
    without_mark = exported.replace("miren.dev/exported", "example.dev/exported")
    refused = filled.cli("apply", "-f", "-", stdin=without_mark)
    assert refused.code == 2
    assert "a status cannot be applied" in refused.err
    wrong = filled.cli("apply", "-f", "-", stdin=exported.replace("address: 10", "adress: 10"))
    assert "did you mean 'address'?" in wrong.err


def test_what_get_shows_has_a_status_and_is_told_to_export(filled: Server) -> None:
    filled.ok("Wait", kind="disk", name="data", project="odd", for_="phase=ready")
    shown = filled.cli("get", "disk/data", "-p", "odd", "-o", "yaml")
    done = filled.cli("apply", "-f", "-", stdin=shown.out)
    assert done.code == 2
    assert "`miren export` leaves it out" in done.err


def test_a_list_is_told_to_export(filled: Server) -> None:
    shown = filled.cli("get", "services,routes", "-p", "shop", "-o", "json")
    done = filled.cli("apply", "-f", "-", stdin=shown.out)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("error:") == 1
    assert "a List is no entity" in done.err
    assert "miren export" in done.err


def test_what_is_being_deleted_is_left_out(filled: Server) -> None:
    head = {"name": "going", "project": "odd", "finalizers": ["example.dev/hold"]}
    filled.ok("Create", entity={"kind": "Role", "metadata": head})
    kept = names(filled.cli("export", "roles", "-p", "odd").out)
    assert "role/going" in kept
    assert "finalizers" not in filled.cli("export", "roles", "-p", "odd").out
    filled.ok("Delete", kind="role", name="going", project="odd")
    assert "role/going" not in names(filled.cli("export", "roles", "-p", "odd").out)


def test_secrets_are_masked_and_told(filled: Server) -> None:
    secret = {"data": {"url": "hunter2"}}
    filled.ok("Create", entity=entity("Secret", "db", secret, project="odd"))
    done = filled.cli("export", "secrets", "-p", "odd")
    assert "hunter2" not in done.out
    assert done.err.startswith("1 document has secrets, masked as (sealed)")
    kept = filled.cli("apply", "-f", "-", stdin=done.out)
    assert kept.out == "secret/db unchanged\n"
    filled.ok("Delete", kind="secret", name="db", project="odd")
    elsewhere = filled.cli("apply", "-f", "-", stdin=done.out)
    assert elsewhere.code == 2
    assert "is (sealed), which keeps what is stored, and nothing is stored here" in elsewhere.err
