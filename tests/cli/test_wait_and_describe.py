"""`miren wait` and `miren describe`, and their ways to fail."""

from __future__ import annotations

import time

from tests.servers import Server, disk, sandbox


def test_waiting_ends_when_it_is_so(server: Server) -> None:
    server.ok("Apply", document=disk("w1"))
    server.ok("Apply", document=disk("w2"))
    done = server.cli("wait", "disk", "w1", "w2", "--for", "condition=Ready", "--timeout", "10s")
    assert done.code == 0, done.err
    assert done.lines == ["disk/w1 met condition=Ready", "disk/w2 met condition=Ready"]
    assert server.cli("wait", "dk/w1", "--for", "phase=ready").out == "disk/w1 met phase=ready\n"
    assert server.cli("wait", "dk/none", "--for", "delete").out == "disk/none deleted\n"


def test_waiting_in_vain_says_what_the_state_was(server: Server) -> None:
    document = sandbox("imageless")
    document["spec"]["containers"][0]["image"] = "nowhere"
    server.ok("Apply", document=document)
    start = time.monotonic()
    done = server.cli("wait", "sb/imageless", "--for", "condition=Ready", "--timeout", "0.3")
    assert time.monotonic() - start < 5
    assert done.code == 5
    assert "waited 0.3 s for sandbox/imageless" in done.err
    assert "nowhere" in done.err
    done = server.cli("wait", "sb/nobody", "--for", "phase=running", "--timeout", "100ms")
    assert done.code == 5
    assert "does not exist" in done.err


def test_what_can_never_be_is_not_waited_for(server: Server) -> None:
    for condition in ("phase=runing", "condition=", "ready", "condition=Ready=Maybe"):
        assert server.cli("wait", "sb/x", "--for", condition).code == 2
    assert "did you mean 'running'?" in server.cli("wait", "sb/x", "--for", "phase=runing").err
    for timeout in ("0", "-1", "soon", "nan", "inf", "100h"):
        done = server.cli("wait", "sb/x", "--for", "delete", f"--timeout={timeout}")
        assert done.code == 2, timeout
    assert server.cli("wait", "sb/x").code == 2


def test_a_description_tells_all(server: Server) -> None:
    server.ok("Apply", document=disk("told", labels={"a": "b"}, annotations={"c": "d", "e": "f"}))
    server.ok("Wait", kind="disk", name="told", for_="condition=Ready")
    done = server.cli("describe", "disk", "told")
    assert done.code == 0
    for line in (
        "Name:         told",
        "Kind:         Disk (miren.dev/v1alpha1)",
        "Project:      default",
        "Labels:       a=b",
        "Annotations:  c=d",
        "              e=f",
        "Finalizers:   miren.dev/disk",
        "Spec:",
        "  size: 1Gi",
        "Status:",
        "  phase: ready",
        "Conditions:",
    ):
        assert line in done.lines
    head = next(line for line in done.lines if line.startswith("  TYPE"))
    assert head.split() == ["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]
    done = server.cli("describe", "disk/nobody", "disk/told")
    assert done.code == 3
    assert "Name:         told" in done.lines
    assert "disk 'nobody' not found" in done.err
