from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from miren.base.errors import InvalidInput, RuntimeFailure
from miren.runtime.network import Network
from miren.runtime.network.ipam import choose_subnet, gateway, mac_of, next_address

SMALL = IPv4Network("10.1.2.0/29")
FREE = 5  # eight, without the subnet's own, the broadcast address and the bridge's


def test_the_bridge_has_the_first_address_and_sandboxes_the_rest() -> None:
    assert gateway(SMALL) == IPv4Address("10.1.2.1")
    assert next_address(SMALL, set(), after=None) == IPv4Address("10.1.2.2")


def test_addresses_go_round_instead_of_being_used_again_at_once() -> None:
    last = None
    given_out = []
    for _ in range(FREE + 1):
        last = next_address(SMALL, set(), after=last)
        given_out.append(int(last) & 7)
    assert given_out == [2, 3, 4, 5, 6, 2]


def test_a_full_subnet_says_so_and_what_to_do() -> None:
    used = {address for address in SMALL if address != gateway(SMALL)}
    with pytest.raises(RuntimeFailure, match=r"all 5 addresses of 10\.1\.2\.0/29") as full:
        next_address(SMALL, used, after=None)
    assert full.value.hint


def test_addresses_of_another_subnet_do_not_disturb() -> None:
    foreign = IPv4Address("192.168.0.9")
    assert next_address(SMALL, {foreign}, after=foreign) == IPv4Address("10.1.2.2")


class Allocation(RuleBasedStateMachine):
    """Against a set: no address twice, none that is not the subnet's, all of them usable."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[IPv4Address] = set()
        self.last: IPv4Address | None = None

    @precondition(lambda self: len(self.used) < FREE)
    @rule()
    def allocate(self) -> None:
        self.last = next_address(SMALL, self.used, after=self.last)
        assert self.last not in self.used
        assert self.last in SMALL
        self.used.add(self.last)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.used.remove(data.draw(st.sampled_from(sorted(self.used))))

    @precondition(lambda self: len(self.used) == FREE)
    @rule()
    def overflow(self) -> None:
        with pytest.raises(RuntimeFailure):
            next_address(SMALL, self.used, after=self.last)

    @invariant()
    def reserved_addresses_are_never_given_out(self) -> None:
        reserved = {SMALL.network_address, SMALL.broadcast_address, gateway(SMALL)}
        assert not self.used & reserved


TestAllocation = Allocation.TestCase

networks = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(11, 32),
)


@given(instance=st.text("abc234", min_size=6, max_size=6), taken=st.lists(networks, max_size=20))
def test_a_chosen_subnet_meets_none_that_the_host_uses(
    instance: str, taken: list[IPv4Network]
) -> None:
    try:
        chosen = choose_subnet(instance, taken)
    except RuntimeFailure:
        # Then each of the 768 candidates is met; a network meets one for each /20 in it.
        assert sum(max(1, network.num_addresses >> 12) for network in taken) >= 768
        return
    assert chosen.prefixlen == 20
    assert not any(chosen.overlaps(network) for network in taken)
    assert choose_subnet(instance, taken) == chosen


def test_instances_start_looking_at_different_subnets() -> None:
    chosen = {choose_subnet(f"inst{number:02}", []) for number in range(50)}
    assert len(chosen) > 40


def test_a_host_without_a_free_subnet_is_told_to_name_one() -> None:
    with pytest.raises(RuntimeFailure, match="no subnet") as full:
        choose_subnet("abcdef", [IPv4Network("10.0.0.0/8")])
    assert full.value.hint == "name a free one in [network] subnet"


@given(st.ip_addresses(v=4))
def test_a_hardware_address_goes_with_its_address_and_is_a_local_one(
    address: IPv4Address,
) -> None:
    parts = mac_of(address).split(":")
    assert len(parts) == 6
    assert int(parts[0], 16) & 3 == 2  # locally administered, not multicast
    assert IPv4Address(bytes(int(part, 16) for part in parts[2:])) == address


@pytest.mark.parametrize("subnet", ["10.0.0.1/20", "house", "10.0.0.0/30", "fd00::/64"])
def test_a_subnet_that_is_none_or_too_small_is_refused(subnet: str) -> None:
    with pytest.raises(InvalidInput, match=subnet):
        Network("abcdef", subnet=subnet)
