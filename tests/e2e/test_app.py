"""One file goes through four controllers: app, version, sandbox, disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.server import EXAMPLES, Server
from tests.servers import wait_until

pytestmark = pytest.mark.host


def test_an_app_becomes_a_version_a_sandbox_and_a_disk(server: Server, tmp_path: Path) -> None:
    server.must("apply", "-f", str(EXAMPLES / "07-app"))
    server.must("wait", "app/guestbook", "--for", "condition=Ready")

    app = server.get("app/guestbook")["status"]
    version = server.get(f"appversion/{app['version']}")
    (box,) = json.loads(server.must("get", "sandboxes", "-o", "json"))["items"]
    disk = server.get("disk/guestbook")
    assert app["phase"] == "running"
    assert version["metadata"]["ownerReferences"][0]["name"] == "guestbook"
    assert box["metadata"]["ownerReferences"][0]["name"] == version["metadata"]["name"]
    assert "Hello" in server.answer(box["metadata"]["name"])

    folder = Path(disk["status"]["path"])
    assert (folder / "visits").read_text().strip() != ""

    held = server.cli("delete", "disk", "guestbook", "--timeout", "1")
    assert held.code == 5, held
    assert "mounted by" in server.must("describe", "disk", "guestbook")

    server.must("delete", "app", "guestbook")
    wait_until(lambda: not folder.exists(), told="the disk goes when nothing mounts it")
    assert server.must("get", "appversions", "-o", "name") == ""
    assert server.must("get", "sandboxes", "-o", "name") == ""
    assert server.leftovers(of_containers=True) == []
