"""The small program between the server and a command: it starts it, waits, notes its exit code.

Only a parent learns an exit code, and the server may not live that long. So each command has its
own parent, which needs nothing of the server: it reads `plan.json` in the container's folder and
writes, each file whole or not at all,

    keeper.json    who the keeper is; made exclusively, so a container never has two
    process.json   who the command is
    exit.json      how it ended

Its standard output is the server's only while the command is being started: one JSON object says
how that went. Run as a file with `python -I -S`, so it imports nothing but the standard library's
small modules; it takes no part in the package.
"""

import contextlib
import json
import os
import signal
import sys
import time


def main(folder: str) -> int:
    """Run the plan in `folder` to its end; return 0 once nothing of it runs."""
    with open(f"{folder}/plan.json", "rb") as stream:  # noqa: PTH123 - pathlib costs 10 ms
        plan = json.load(stream)
    if not claim(folder):
        answer({"error": "it is being started already"})
        return 0
    try:
        pid = spawn(plan)
    except OSError as error:
        reason = f"cannot run {plan['argv'][0]!r}: {error.strerror}"
        save(folder, "exit.json", {"code": 127, "reason": reason})
        answer({"error": reason})
        return 0
    try:
        save(folder, "process.json", {**identify(pid), "started_at": time.time()})
    except OSError:
        # The container was deleted in the meantime, by somebody who could not see the command.
        end(pid)
        return 0
    answer({"pid": pid})
    code = end(pid, wait=True)
    with contextlib.suppress(FileNotFoundError):  # deleted: nobody wants to know
        save(folder, "exit.json", {"code": code, "reason": ""})
    return 0


def claim(folder: str) -> bool:
    """Become the container's keeper; return False if it has one."""
    mine = f"{folder}/.keeper-{os.getpid()}"
    save(folder, os.path.basename(mine), identify(os.getpid()))  # noqa: PTH119
    try:
        os.link(mine, f"{folder}/keeper.json")
    except FileExistsError:
        return False
    finally:
        os.unlink(mine)  # noqa: PTH108
    return True


def spawn(plan: dict) -> int:  # type: ignore[type-arg]  # JSON
    """Start the command in a session of its own, its output on the log; return its pid."""
    log = os.open(plan["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.chdir(plan["working_dir"])
        return os.posix_spawn(
            plan["executable"],
            plan["argv"],
            plan["env"],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            # Python ignores these two, and what is ignored stays so across exec.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    finally:
        os.close(log)
        os.chdir("/")


def end(pid: int, *, wait: bool = False) -> int:
    """Kill the command's group, once it has ended by itself if `wait`; return its exit code.

    The command is reaped last: until then its pid, which is its group's, cannot be reused.
    """
    if wait:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def identify(pid: int) -> dict:  # type: ignore[type-arg]  # JSON
    """Return the pid, when it was started in clock ticks since boot, and which boot: unique."""
    with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123
        # The name in parentheses may hold anything; field 22 of the whole is 20 of the rest.
        start = int(stream.read().rpartition(b")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
        return {"pid": pid, "start": start, "boot": stream.read().strip()}


def save(folder: str, name: str, value: dict) -> None:  # type: ignore[type-arg]  # JSON
    """Write the file so that whoever reads it finds all of it or nothing."""
    partial = f"{folder}/.{name}.{os.getpid()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.rename(partial, f"{folder}/{name}")  # noqa: PTH104


def answer(value: dict) -> None:  # type: ignore[type-arg]  # JSON
    """Tell the server how the start went, if it is still there, and let go of its pipe."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(value).encode())
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
