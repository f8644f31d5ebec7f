"""`miren logs` of sandboxes that really run, and `miren image`."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.servers import EXAMPLE, Server, free_port, run_miren, sandbox, wait_until


def started(server: Server, name: str) -> int:
    port = free_port()
    server.ok("Apply", document=sandbox(name, port=port))
    done = server.cli("wait", f"sb/{name}", "--for", "condition=Ready", "--timeout", "20s")
    assert done.code == 0, done.err
    return port


def test_a_sandbox_is_heard(server: Server) -> None:
    port = started(server, "heard")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert b"Hello from a Miren sandbox!" in answer.read()
    for words in (["heard"], ["sandbox/heard"], ["sb", "heard"]):
        done = server.cli("logs", *words)
        assert (done.code, done.lines[:2]) == (0, ["one", "two"])
    assert server.cli("logs", "heard", "--tail", "1").lines == ["two"]
    assert server.cli("logs", "heard", "--tail", "0").out == ""
    assert server.cli("logs", "heard", "--tail", "99").lines == ["one", "two"]


def test_following_shows_what_comes_and_ends_with_the_sandbox(server: Server) -> None:
    document = sandbox("followed")
    document["spec"]["containers"][0]["command"] = [
        "sh",
        "-c",
        'echo begun; until [ -e "$FLAG" ]; do sleep 0.05; done; echo hé; sleep 999',
    ]
    flag = server.base / "flag"
    document["spec"]["containers"][0]["env"] = {"FLAG": str(flag)}
    server.ok("Apply", document=document)
    follow = server.popen("logs", "-f", "followed")
    assert follow.stdout is not None
    assert follow.stdout.readline() == "begun\n"
    flag.touch()
    assert follow.stdout.readline() == "hé\n"
    assert server.cli("delete", "sb/followed").code == 0
    assert follow.wait(timeout=10) == 0
    assert follow.communicate() == ("", "")


def test_following_waits_for_what_has_not_begun(server: Server) -> None:
    document = sandbox("late")
    document["spec"]["containers"][0]["image"] = "late"
    document["spec"]["containers"][0]["command"] = ["sh", "-c", "echo here; sleep 999"]
    server.ok("Apply", document=document)
    assert server.cli("logs", "late").out == ""
    follow = server.popen("logs", "-f", "late")
    assert follow.stdout is not None
    document["spec"]["containers"][0]["image"] = "hello"
    server.ok("Apply", document=document)
    assert follow.stdout.readline() == "here\n"
    follow.terminate()
    follow.communicate(timeout=10)


def test_logs_are_of_sandboxes_that_are_there(server: Server) -> None:
    done = server.cli("logs", "nobody")
    assert (done.code, done.out) == (3, "")
    assert server.cli("logs", "disk/x").code == 2
    assert server.cli("logs", "sb/a", "sb/b").code == 2
    assert server.cli("logs", "x", "--tail", "-1").code == 2
    assert server.cli("logs").code == 2
    assert server.call("Read", service="miren.logs.v1.Logs").status == 400
    answer = server.call("Read", service="miren.logs.v1.Logs", name="x", tail="3")
    assert answer.json["message"].startswith("tail")


def test_a_follower_that_leaves_is_forgotten(server: Server) -> None:
    server.ok("Apply", document=sandbox("quiet"))
    server.ok("Wait", kind="sb", name="quiet", for_="phase=running")
    wait_until(lambda: server.connections() == 0)
    follow = server.popen("logs", "-f", "quiet")
    wait_until(lambda: server.connections() == 1)
    follow.terminate()
    follow.communicate(timeout=10)
    wait_until(lambda: server.connections() == 0)


def test_images_are_built_into_files_and_imported_from_them(
    server: Server, tmp_path: Path
) -> None:
    archive = tmp_path / "hello.tar"
    built = run_miren("image", "build", EXAMPLE / "image", "-o", archive, MIREN_SERVER="unix:///x")
    assert built.code == 0, built.err
    again = server.cli("image", "import", archive, "--name", "again")
    assert again.code == 0
    assert again.out.split()[1] == built.out.split()[1]
    assert server.cli("image", "import", tmp_path / "none.tar", "--name", "x").code == 2
    archive.write_bytes(b"no archive")
    refused = server.cli("image", "import", archive, "--name", "x")
    assert refused.code in (1, 2)
    assert "internal error" not in refused.err
    assert server.cli("image", "build", tmp_path / "nowhere").code in (2, 3)
    assert json.loads(server.cli("version", "-o", "json").out)["server"]
