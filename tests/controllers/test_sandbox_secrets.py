"""Environment values from Secrets: read just before the start, and nowhere else to be seen."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from miren.entities.gen import Project, Sandbox, Secret
from miren.entities.gen.compute import SandboxPhase
from miren.entities.store.api import KeyRange
from miren.reconcile.testing import run_virtual
from miren.runtime.api import ContainerSpec, ContainerState
from miren.runtime.fake import FakeRuntime
from tests.controllers.cluster import cluster, current, ready
from tests.controllers.test_sandbox import has_reason
from tests.entities.vaults import make_keyring

TEXT = "hunter2-s3cret"


class Recording(FakeRuntime):
    """Remembers what containers were to be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: list[ContainerSpec] = []

    async def create(self, spec: ContainerSpec) -> ContainerState:
        self.specs.append(spec)
        return await super().create(spec)


def make(name: str = "a", **env: Any) -> Sandbox:
    container = {"image": "hello", "command": ["listen", "80", "hi"], "env": env}
    return Sandbox.new(name, containers=[container], node="n1")


FROM_DB = {"secret": "db/url"}


def test_a_container_gets_the_text_and_nobody_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        runtime = Recording()
        async with cluster(tmp_path, runtime, keyring=make_keyring()) as c:
            await c.client.create(Secret.new("db", data={"url": TEXT}))
            await c.client.create(make(URL=FROM_DB, LEVEL="info"))
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            (spec,) = runtime.specs
            assert spec.env == {"URL": TEXT, "LEVEL": "info"}
            assert TEXT not in repr(spec) + repr(sandbox)
            assert TEXT not in str(spec.labels)
            stored = await c.store.list(KeyRange.prefix("/"))
            assert not any(TEXT.encode() in item.value for item in stored.items)

    run_virtual(main())
    assert TEXT not in str([vars(record) for record in caplog.records])
    seen = [record for record in caplog.records if record.message == "secrets were revealed"]
    assert [vars(record)["actor"] for record in seen] == ["node:n1"]


@pytest.mark.parametrize(
    ("data", "told"),
    [(None, "URL: secret 'db' does not exist"), ({"other": "x"}, "URL: secret 'db' has no 'url'")],
)
def test_a_sandbox_waits_for_its_secret(
    tmp_path: Path, data: dict[str, str] | None, told: str
) -> None:
    async def main() -> None:
        async with cluster(tmp_path, keyring=make_keyring()) as c:
            if data is not None:
                await c.client.create(Secret.new("db", data=data))
            await c.client.create(make(URL=FROM_DB))
            missing = partial(has_reason, "SecretMissing")
            waiting = await c.client.wait(Sandbox, "a", missing, timeout=10)
            assert waiting is not None
            assert ready(waiting).message == told
            assert waiting.status.reason == told
            wanted = Secret.partial("db", data={"url": TEXT})
            await c.client.apply(wanted, manager="cli", force=True)
            await c.phase("a", SandboxPhase.RUNNING, timeout=5)

    run_virtual(main())


def test_the_next_start_takes_the_text_as_it_is_then(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = Recording()
        async with cluster(tmp_path, runtime, keyring=make_keyring()) as c:
            await c.client.create(Secret.new("db", data={"url": "one"}))
            await c.client.create(make(URL=FROM_DB))
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            await c.client.patch(Secret, "db", {"spec": {"data": {"url": "two"}}})
            c.runtime.exit(current(sandbox), 1)
            await c.attempt("a", 2)
            assert [spec.env["URL"] for spec in runtime.specs] == ["one", "two"]

    run_virtual(main())


def test_a_secret_is_looked_for_in_the_project_of_the_sandbox(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, keyring=make_keyring()) as c:
            await c.client.create(Project.new("other"))
            await c.client.create(Secret.new("db", project="other", data={"url": TEXT}))
            await c.client.create(make(URL=FROM_DB))
            missing = partial(has_reason, "SecretMissing")
            assert await c.client.wait(Sandbox, "a", missing, timeout=10)

    run_virtual(main())
