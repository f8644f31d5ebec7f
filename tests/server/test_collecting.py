"""A server collects what belongs to what is deleted, of kinds that no other controller is for."""

from __future__ import annotations

import json

from tests.servers import running_server, wait_until


def test_a_deleted_project_empties_itself_and_dependents_follow_their_owner() -> None:
    with running_server() as server:

        def apply(**document: object) -> None:
            done = server.cli("apply", "-f", "-", stdin=json.dumps(document))
            assert done.code == 0, done

        rules = {"rules": [{"kinds": ["*"], "verbs": ["get"]}]}
        apply(kind="Project", metadata={"name": "shop"})
        assert server.cli("wait", "project/shop", "--for", "condition=Ready").code == 0
        apply(kind="Role", metadata={"name": "reader"}, spec=rules)
        apply(kind="Role", metadata={"name": "reader", "project": "shop"}, spec=rules)
        role = json.loads(server.cli("get", "role", "reader", "-o", "json").out)
        owner = {"kind": "Role", "name": "reader", "uid": role["metadata"]["uid"]}
        owner["apiVersion"] = role["apiVersion"]
        metadata = {"name": "owned", "ownerReferences": [owner]}
        apply(kind="Role", metadata=metadata, spec=rules)

        assert server.cli("delete", "project", "shop").code == 0
        assert server.cli("get", "project", "shop").code != 0
        assert server.cli("delete", "role", "reader").code == 0
        wait_until(lambda: server.cli("get", "role", "owned").code != 0, told="owned goes too")

        status = server.call("Status", service="miren.server.v1.Server").json
        states = {one["name"]: one for one in status["controllers"]}
        assert states["garbage-role"]["running"]
        assert states["projectcontroller"]["lastError"] is None
