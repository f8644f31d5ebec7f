from __future__ import annotations

import string
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from miren.base.ids import new_instance_id, new_uid
from miren.runtime.api import ContainerId
from miren.runtime.network.firewall import install_script, remove_script
from miren.runtime.network.names import Names, bridge_name, netns_name, table_name, veth_name

# IFNAMSIZ of the kernel is 16, the last byte a zero.
LONGEST = 15

uids = st.text(string.ascii_lowercase + "234567", min_size=20, max_size=20)


@given(uid=uids, attempt=st.integers(1, 10**6))
def test_a_veths_name_always_fits_and_holds_only_letters_and_digits(
    uid: str, attempt: int
) -> None:
    name = veth_name(ContainerId(uid, attempt))
    assert len(name) <= LONGEST
    assert name.isalnum()


@given(uid=uids, attempts=st.sets(st.integers(1, 1295), min_size=2, max_size=2))
def test_attempts_of_one_sandbox_have_different_veths(uid: str, attempts: set[int]) -> None:
    assert len({veth_name(ContainerId(uid, attempt)) for attempt in attempts}) == 2


def test_a_bridge_and_a_table_carry_their_instance() -> None:
    instance = new_instance_id()
    assert len(bridge_name(instance)) <= LONGEST
    assert instance in bridge_name(instance)
    assert instance in table_name(instance)


def test_a_netns_is_named_by_uid_and_attempt() -> None:
    id = ContainerId(new_uid(), 7)
    assert netns_name(id) == f"miren-{id.uid}-7"
    assert Names.of(id).netns_path == Path("/run/netns", netns_name(id))


def test_firewall_scripts_name_one_table_and_one_bridge() -> None:
    text = install_script("abcdef")
    assert text.startswith(remove_script("abcdef"))
    assert text.count("miren-abcdef") == 3
    assert '"mv-abcdef" drop' in text
