"""App, version, sandbox and disk controllers together, in virtual time."""

from __future__ import annotations

from pathlib import Path

from miren.entities.gen import App, AppVersion, Disk, Sandbox
from miren.entities.gen.core import AppPhase, AppVersionPhase
from miren.reconcile.testing import run_virtual
from tests.controllers.cluster import Cluster, cluster

SERVICE = {"name": "web", "command": ["listen", "80", "hi"], "ports": [80]}


async def _running(c: Cluster, name: str, version: str | None = None) -> App:
    found = await c.client.wait(
        App,
        name,
        lambda app: (
            app is not None
            and app.status.phase is AppPhase.RUNNING
            and app.status.version != version
        ),
        timeout=100,
    )
    assert found is not None
    return found


def test_an_app_becomes_versions_and_sandboxes_and_the_old_ones_retire(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(Disk.new("data"))
            service = {**SERVICE, "scale": 2, "volumes": [{"disk": "data", "path": "/data"}]}
            await c.client.create(App.new("shop", image="hello", services=[service]))
            first = await _running(c, "shop")
            assert (first.status.ready, first.status.replicas) == (2, 2)
            sandboxes = (await c.client.list(Sandbox)).items
            assert {sb.metadata.labels["miren.dev/app"] for sb in sandboxes} == {"shop"}
            assert len(sandboxes) == 2

            await c.client.patch(App, "shop", {"spec": {"env": {"A": {"value": "1"}}}})
            second = await _running(c, "shop", first.status.version)
            old = await c.client.wait(
                AppVersion,
                str(first.status.version),
                lambda v: v is not None and v.status.phase is AppVersionPhase.RETIRED,
                timeout=100,
            )
            assert old is not None
            new = await c.client.get(AppVersion, str(second.status.version))
            assert new.spec.env["A"].value == "1"

            await c.client.delete(App, "shop")
            await c.client.wait(App, "shop", lambda app: app is None, timeout=100)
            assert (await c.client.list(AppVersion)).items == ()
            assert (await c.client.list(Sandbox)).items == ()
            assert not await c.runtime.list()
            assert await c.client.get(Disk, "data") is not None

    run_virtual(main())


def test_going_back_to_an_earlier_state_brings_its_version_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(App.new("shop", image="hello", services=[SERVICE]))
            first = await _running(c, "shop")
            await c.client.patch(App, "shop", {"spec": {"env": {"A": {"value": "1"}}}})
            second = await _running(c, "shop", first.status.version)
            await c.client.patch(App, "shop", {"spec": {"env": {"A": None}}})
            third = await _running(c, "shop", second.status.version)
            assert third.status.version == first.status.version
            assert third.status.ready == 1

    run_virtual(main())


def test_an_app_scaled_to_nothing_is_what_it_should_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(
                App.new("shop", image="hello", services=[{**SERVICE, "scale": 0}])
            )
            app = await _running(c, "shop")
            assert (app.status.ready, app.status.replicas) == (0, 0)
            assert (await c.client.list(Sandbox)).items == ()

    run_virtual(main())


def test_an_app_without_an_image_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(App.new("shop", services=[SERVICE]))
            version = await _first_version(c)
            ready = version.condition("Ready")
            assert ready is not None
            assert (ready.reason, ready.message) == (
                "NoImage",
                "service web has no image; give the app or the service an image",
            )

    run_virtual(main())


async def _first_version(c: Cluster) -> AppVersion:
    app = await c.client.wait(
        App, "shop", lambda app: app is not None and app.status.version is not None, timeout=10
    )
    assert app is not None
    found = await c.client.wait(
        AppVersion,
        str(app.status.version),
        lambda v: v is not None and v.condition("Ready") is not None,
        timeout=10,
    )
    assert found is not None
    return found
