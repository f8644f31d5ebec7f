from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface

import pytest

from miren.base.errors import DeadlineExceeded, RuntimeFailure
from miren.base.ids import new_instance_id, new_uid
from miren.runtime.api import ContainerId
from miren.runtime.network import Network, bridge_name, links, veth_name
from miren.runtime.network.commands import run
from miren.runtime.network.names import NETNS_FOLDER

pytestmark = pytest.mark.host


@pytest.fixture
def instance() -> str:
    return new_instance_id()


@pytest.fixture
async def network(instance: str) -> AsyncIterator[Network]:
    network = Network(instance)
    await network.open()
    yield network
    await network.purge()
    assert await network.leftovers() == []
    assert await network.ports() == []


def new_id() -> ContainerId:
    return ContainerId(new_uid(), 1)


async def ping(address: IPv4Address) -> None:
    await run("busybox", "ping", "-c", "1", "-W", "1", str(address))


async def test_a_restart_finds_the_subnet_of_before(network: Network, instance: str) -> None:
    again = Network(instance)
    await again.open()
    assert again.subnet == network.subnet


async def test_two_instances_have_different_subnets(network: Network) -> None:
    other = Network(new_instance_id())
    await other.open()
    try:
        assert not other.subnet.overlaps(network.subnet)
    finally:
        await other.purge()
    assert len(await network.leftovers()) == 2


async def test_a_subnet_that_the_host_uses_is_refused_and_nothing_is_made(
    network: Network,
) -> None:
    other = Network(new_instance_id(), subnet=str(network.subnet))
    with pytest.raises(RuntimeFailure, match=f"overlaps {network.subnet}"):
        await other.open()
    assert await other.leftovers() == []


async def test_another_subnet_than_the_bridge_has_is_refused(
    network: Network, instance: str
) -> None:
    with pytest.raises(RuntimeFailure, match="has the subnet"):
        await Network(instance, subnet="10.200.0.0/24").open()


async def test_a_wanted_subnet_is_used(instance: str) -> None:
    network = Network(instance, subnet="10.213.7.0/24")
    await network.open()
    try:
        assert str(network.gateway) == "10.213.7.1"
        found = [
            address for link, address in await links.addresses() if link == bridge_name(instance)
        ]
        assert found == [IPv4Interface("10.213.7.1/24")]
    finally:
        await network.purge()


async def test_an_attached_sandbox_answers_at_its_address(network: Network) -> None:
    id, address = new_id(), network.reserve()
    await network.attach(id, address)
    try:
        assert network.is_attached(id)
        await ping(address)
        assert list(await network.ports()) == [veth_name(id)]
    finally:
        await network.detach(id)
    assert not network.is_attached(id)
    assert list(await network.ports()) == []


async def test_attaching_again_starts_over_and_detaching_again_is_fine(network: Network) -> None:
    id, address = new_id(), network.reserve()
    for _ in range(3):
        await network.attach(id, address)
    await ping(address)
    for _ in range(2):
        await network.detach(id)


async def test_an_address_given_to_another_sandbox_is_reached_at_once(network: Network) -> None:
    # With no port at all the bridge would be down, and the host forget all that it knows.
    neighbour = new_id()
    await network.attach(neighbour, network.reserve())
    address = network.reserve()
    for _ in range(2):
        id = new_id()
        await network.attach(id, address)
        await ping(address)
        await network.detach(id)
    await network.detach(neighbour)


async def test_claimed_addresses_are_not_given_out(network: Network, instance: str) -> None:
    taken = [network.reserve() for _ in range(3)]
    later = Network(instance)
    await later.open()
    later.claim(taken)
    assert later.reserve() not in taken


async def test_a_cancelled_attach_leaves_only_what_detach_removes(network: Network) -> None:
    for delay in (0.0, 0.001, 0.003, 0.006, 0.01):
        id, address = new_id(), network.reserve()
        try:
            async with asyncio.timeout(delay):
                await network.attach(id, address)
        except TimeoutError:
            pass
        await network.detach(id)
        assert not network.is_attached(id)
        assert list(await network.ports()) == []


async def test_an_address_of_another_subnet_is_refused(network: Network) -> None:
    with pytest.raises(RuntimeFailure, match="outside of the network"):
        await network.attach(new_id(), IPv4Address("192.0.2.77"))


async def test_purging_removes_sandboxes_links_too_and_can_be_repeated(
    network: Network,
) -> None:
    id, address = new_id(), network.reserve()
    await network.attach(id, address)
    await network.purge()
    assert await network.leftovers() == []
    assert not network.is_attached(id)
    await network.purge()
    await network.detach(id)


async def test_what_the_kernel_refuses_is_an_error_that_names_the_link(instance: str) -> None:
    await links.add_netns(NETNS_FOLDER / f"miren-{instance}")
    try:
        with pytest.raises(RuntimeFailure, match="there is no link mv-nobody"):
            await links.add_veth(
                f"mv{instance}",
                bridge="mv-nobody",
                netns=NETNS_FOLDER / f"miren-{instance}",
                mac="02:00:00:00:00:07",
                alias="",
            )
        with pytest.raises(RuntimeFailure, match=f"veth mv{instance}: File exists"):
            await links.add_veth(
                f"mv{instance}",
                bridge="mv-nobody",
                netns=NETNS_FOLDER / f"miren-{instance}",
                mac="02:00:00:00:00:08",
                alias="",
            )
    finally:
        await links.delete_link(f"mv{instance}")
        links.delete_netns(NETNS_FOLDER / f"miren-{instance}")


async def test_a_cancelled_call_has_ended_when_it_is_over(network: Network) -> None:
    id, address = new_id(), network.reserve()
    for delay in (0, 0.001, 0.003, 0.006):
        attaching = asyncio.ensure_future(network.attach(id, address))
        with suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(delay):
                await attaching
        threads = threading.active_count()
        await network.detach(id)
        assert not network.is_attached(id)
        assert threading.active_count() <= threads


async def test_a_missing_program_says_what_to_install() -> None:
    with pytest.raises(RuntimeFailure, match="no-such-program is not installed") as missing:
        await run("no-such-program")
    assert missing.value.hint


async def test_a_command_that_hangs_is_killed() -> None:
    with pytest.raises(DeadlineExceeded, match="sleep 1000"):
        await run("sleep", "1000", timeout=0.1)
