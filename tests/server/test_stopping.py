"""What SIGTERM does to those who are connected, and that nothing is left of the socket."""

from __future__ import annotations

import json

from tests.servers import ENTITIES, Server, UnixConnection, run_miren, running_server, wait_until

NEVER = b'{"kind": "disk", "name": "never", "for": "phase=ready"}'


def test_sigterm_ends_watches_and_logs_cleanly_and_soon() -> None:
    with running_server() as server:
        server.ok("Create", entity={"kind": "Project", "metadata": {"name": "seen"}})
        watch = server.popen("get", "projects", "-w", "-o", "name")
        assert watch.stdout is not None
        assert watch.stdout.readline() == "added project/default\n"
        assert watch.stdout.readline() == "added project/seen\n"
        with server.stream("Watch", kind="project") as stream:
            stream.until("BOOKMARK")
            took = server.stop()
            # It ends with a last chunk, not with a broken connection.
            assert {message["type"] for message in stream} <= {"BOOKMARK"}
            assert stream.response.isclosed()
        assert took < 3
        assert watch.wait(timeout=10) == 0
        assert watch.communicate() == ("", "")
        assert not server.socket.exists()
        assert "Traceback" not in server.log
        assert run_miren("get", "sb", MIREN_SERVER=server.address).code == 7


def test_a_call_that_would_go_on_is_told_that_nobody_knows() -> None:
    with running_server() as server:
        connection = UnixConnection(server.socket)
        connection.request("POST", f"/{ENTITIES}/Wait", NEVER)
        server.ok("Kinds")  # came later and is answered, so the first one is in work
        took = server.stop()
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["code"]) == (500, "unknown")
        connection.close()
        assert "Traceback" not in server.log
    assert took < 3


def test_a_second_server_of_the_same_folders_is_refused() -> None:
    with running_server() as server:
        options = ["--state-dir", f"{server.base}/other", "--run-dir", f"{server.base}/run"]
        other = run_miren("server", *options, "--runtime", "process")
        assert (other.code, server.http("GET", "/healthz").status) == (6, 200)
        assert "another server listens" in other.err
        options[1] = f"{server.base}/state"
        other = run_miren("server", *options, "--runtime", "process")
        assert (other.code, server.http("GET", "/healthz").status) == (6, 200)


def test_purge_removes_what_a_server_had_once_it_has_stopped() -> None:
    with running_server() as server:
        purge = ["server", "purge", "--data", *folders_of(server)]
        refused = run_miren(*purge)
        assert (refused.code, server.http("GET", "/healthz").status) == (6, 200)
        assert "stop it first" in refused.err
        server.stop()
        assert run_miren(*purge).lines[-2:] == [
            f"removed {server.base / name}" for name in ("state", "run")
        ]
        assert not (server.base / "state").exists()
        assert not (server.base / "run").exists()


def folders_of(server: Server) -> list[str]:
    return ["--state-dir", f"{server.base}/state", "--run-dir", f"{server.base}/run"]


def test_entities_outlive_the_server() -> None:
    with running_server() as server:
        server.ok("Create", entity={"kind": "Project", "metadata": {"name": "kept"}})
        server.stop()
        again = server.popen("server", *folders_of(server), "--runtime", "process")
        try:
            wait_until(lambda: server.cli("get", "project/kept").code == 0)
        finally:
            again.terminate()
            assert again.wait(timeout=20) == 0
            again.communicate()
