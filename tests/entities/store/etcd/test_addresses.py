from __future__ import annotations

import pytest

from miren.base.errors import InvalidInput
from miren.entities.store.etcd.addresses import Address, parse_addresses
from miren.entities.store.etcd.store import EtcdStore


@pytest.mark.parametrize(
    ("text", "target", "encrypted"),
    [
        ("http://127.0.0.1:2379", "dns:///127.0.0.1:2379", False),
        ("https://etcd-0.example:2379/", "dns:///etcd-0.example:2379", True),
        ("http://[::1]:2379", "dns:///[::1]:2379", False),
        ("unix:///run/etcd.sock:0", "unix:/run/etcd.sock:0", False),
    ],
)
def test_an_endpoint_is_an_address_of_grpc(text: str, target: str, encrypted: bool) -> None:
    assert Address.parse(text) == Address(text, target, encrypted)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:2379",
        "http://127.0.0.1",
        "http://127.0.0.1:port",
        "http://:2379",
        "http://host:2379/path",
        "http://user:word@host:2379",
        "ftp://host:2379",
        "unix://relative.sock",
        "http://[::1:2379",
        "",
    ],
)
def test_what_is_no_endpoint_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Address.parse(text)
    assert "http://host:port" in (caught.value.hint or "")


def test_every_wrong_endpoint_is_told_of_and_none_twice_is_kept() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_addresses(["nowhere", "http://a:1", "http://b"])
    assert len(caught.value.problems) == 2
    assert len(parse_addresses(["http://a:1", "http://a:1/", "http://b:1"])) == 2
    with pytest.raises(InvalidInput):
        parse_addresses([])


def test_one_text_in_place_of_a_list_is_told_as_such() -> None:
    for make in (parse_addresses, EtcdStore):
        with pytest.raises(InvalidInput, match="a list, not one text") as caught:
            make("http://a:1")
        assert caught.value.hint == "write ['http://a:1']"


@pytest.mark.parametrize("endpoint", [b"http://a:1", None, 2379])
def test_an_endpoint_that_is_no_text_is_refused_with_what_to_write(endpoint: object) -> None:
    with pytest.raises(InvalidInput, match="an endpoint is text"):
        EtcdStore([endpoint])  # type: ignore[list-item]  # on purpose


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None])
@pytest.mark.parametrize("name", ["timeout", "silence"])
def test_a_time_that_is_none_is_refused(name: str, seconds: object) -> None:
    with pytest.raises(InvalidInput, match=name) as caught:
        EtcdStore(["http://a:1"], **{name: seconds})  # type: ignore[arg-type]  # on purpose
    assert caught.value.hint
