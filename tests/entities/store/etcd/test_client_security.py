"""The client where etcd wants to know who calls, and proves who it is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import InvalidInput, Refused, Unavailable
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.etcd.tls import TLS
from tests.certificates import Authority
from tests.etcd import Encrypted, Member, running_encrypted_etcd, running_etcd

WORD = "correct horse"
ROOT = ("root", WORD)


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Encrypted]:
    with running_encrypted_etcd() as etcd:
        yield etcd


@pytest.fixture(scope="module")
def guarded() -> Iterator[Member]:
    with running_etcd(password=WORD, arguments=["--bcrypt-cost", "4"]) as etcd:
        control(etcd, "role", "add", "reader")
        control(etcd, "role", "grant-permission", "reader", "read", "/open/", "/open0")
        control(etcd, "user", "add", "ann:word")
        control(etcd, "user", "grant-role", "ann", "reader")
        yield etcd


def control(etcd: Member, *words: str) -> None:
    etcd.control(*words, user=":".join(ROOT))


def put(key: bytes) -> Any:
    return message("PutRequest")(key=key)


def get(key: bytes) -> Any:
    return message("RangeRequest")(key=key)


def forget_tokens(etcd: Member) -> None:
    """Make every token invalid that etcd gave so far."""
    control(etcd, "auth", "disable")
    etcd.control("auth", "enable")


def authentications(etcd: Member) -> float:
    name = 'grpc_server_handled_total{grpc_code="OK",grpc_method="Authenticate"'
    rest = ',grpc_service="etcdserverpb.Auth",grpc_type="unary"}'
    return etcd.metric((name + rest).replace("{", r"\{").replace("}", r"\}")) or 0


async def test_a_client_with_a_certificate_is_served(encrypted: Encrypted) -> None:
    identity = encrypted.client
    tls = TLS(encrypted.authority.ca, identity.cert, identity.key)
    async with Client(endpoints=[encrypted.member.endpoint], tls=tls) as client:
        await client.put(put(b"a"))


@pytest.mark.parametrize("how", ["no certificate", "another authority", "the system's"])
async def test_a_handshake_that_fails_says_why(
    encrypted: Encrypted, tmp_path: Path, how: str
) -> None:
    tls = {
        "no certificate": TLS(encrypted.authority.ca),
        "another authority": TLS(Authority(tmp_path, "stranger").ca),
        "the system's": None,
    }[how]
    with pytest.raises(Unavailable) as caught:
        async with Client(endpoints=[encrypted.member.endpoint], tls=tls, timeout=1):
            pass
    assert encrypted.member.endpoint in caught.value.message
    told = "" if how == "no certificate" else "CERTIFICATE_VERIFY_FAILED"
    assert told in caught.value.message


async def test_a_renewed_certificate_is_used_for_the_next_connection(tmp_path: Path) -> None:
    with running_encrypted_etcd() as etcd:
        mine = TLS(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
        place(etcd, mine)
        async with Client(endpoints=[etcd.member.endpoint], tls=mine, timeout=0.5) as client:
            await client.put(put(b"a"))
            etcd.member.kill()
            with pytest.raises(Unavailable):
                await client.range(get(b"a"))
            for path in (mine.ca, mine.cert, mine.key):
                assert path is not None
                path.write_text("expired")
            etcd.member.restart()
            with pytest.raises(Unavailable):
                await client.range(get(b"a"))
            place(etcd, mine)
            # The next attempt to connect may be further away than one call waits.
            async with asyncio.timeout(10):
                while not await is_put(client):
                    pass


async def is_put(client: Client) -> bool:
    try:
        await client.put(put(b"b"))
    except Unavailable:
        return False
    return True


def place(etcd: Encrypted, tls: TLS) -> None:
    paths = (tls.ca, tls.cert, tls.key)
    sources = (etcd.authority.ca, etcd.client.cert, etcd.client.key)
    for source, path in zip(sources, paths, strict=True):
        assert path is not None
        shutil.copy(source, path)


def test_certificates_that_cannot_work_are_refused_with_the_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.vouch("one"), authority.vouch("other")
    text = tmp_path / "text"
    text.write_text("no certificate")
    cases = {
        "without its key": TLS(authority.ca, one.cert),
        "text": TLS(text),
        "missing": TLS(tmp_path / "missing"),
        "one.pem": TLS(authority.ca, one.cert, other.key),
        "gone.key": TLS(authority.ca, one.cert, tmp_path / "gone.key"),
    }
    for told, tls in cases.items():
        with pytest.raises(InvalidInput, match=told):
            Client(endpoints=["https://localhost:1"], tls=tls)
    with pytest.raises(InvalidInput, match="not encrypted"):
        Client(endpoints=["http://localhost:1"], tls=TLS(authority.ca))


async def test_a_wrong_password_and_no_password_are_refused(guarded: Member) -> None:
    with pytest.raises(Refused, match="authentication failed"):
        async with Client(endpoints=[guarded.endpoint], user=("root", "wrong")):
            pass
    async with Client(endpoints=[guarded.endpoint]) as client:
        with pytest.raises(Refused) as caught:
            await client.put(put(b"a"))
    assert "asks for a user" in (caught.value.hint or "")
    assert WORD not in repr(caught.value)


async def test_a_user_where_none_is_asked_for_is_no_harm_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_etcd(arguments=["--bcrypt-cost", "4"]) as etcd:
        async with EtcdStore([etcd.endpoint], user=ROOT) as store:
            (alarm,) = (await store.status()).alarms
            assert "authentication is off" in alarm
        async with EtcdStore([etcd.endpoint]) as store:
            assert not (await store.status()).alarms
        assert caplog.text.count("its authentication is off") == 1
        async with Client(endpoints=[etcd.endpoint], user=ROOT) as client:
            await client.put(put(b"a"))
            assert client.is_user_ignored
            # And it is used as soon as it is.
            etcd.control("user", "add", ":".join(ROOT))
            etcd.control("user", "grant-role", "root", "root")
            etcd.control("auth", "enable")
            await client.put(put(b"b"))
            assert not client.is_user_ignored


async def test_what_a_user_may_not_do_is_refused(guarded: Member) -> None:
    async with Client(endpoints=[guarded.endpoint], user=("ann", "word")) as client:
        await client.range(get(b"/open/a"))
        for call in (client.put(put(b"/open/a")), client.range(get(b"/closed"))):
            with pytest.raises(Refused, match="permission denied"):
                await call
        with pytest.raises(Refused, match="permission denied"):
            async for _ in client.snapshot():
                pass


async def test_a_token_that_is_no_longer_good_is_renewed_once_for_all(guarded: Member) -> None:
    async with Client(endpoints=[guarded.endpoint], user=ROOT) as client:
        before = (await client.put(put(b"t"))).header.revision
        forget_tokens(guarded)
        asked = authentications(guarded)
        await asyncio.gather(*(client.put(put(b"t/%d" % n)) for n in range(64)))
        assert authentications(guarded) - asked == 1
        # Every write was made once.
        assert (await client.range(get(b"t"))).header.revision == before + 64


async def test_a_token_that_etcd_let_expire_is_renewed() -> None:
    arguments = ["--bcrypt-cost", "4", "--auth-token-ttl", "1"]
    with running_etcd(password=WORD, arguments=arguments) as etcd:
        async with Client(endpoints=[etcd.endpoint], user=ROOT) as client:
            asked = authentications(etcd)
            create = message("WatchRequest")(create_request={"key": b"a"})
            async with asyncio.timeout(20):
                while authentications(etcd) == asked:
                    async with client.watch() as call:
                        await call.send(create)
                        assert not (await anext(call)).canceled
                        # Unused for long enough, at some time.
                        await asyncio.wait((asyncio.create_task(anext(call)),), timeout=2.5)
            await client.put(put(b"a"))


async def test_a_watch_is_told_a_missing_permission_from_an_expired_token(
    guarded: Member,
) -> None:
    async def refusal(user: tuple[str, str], key: bytes, *, forget: bool) -> Exception:
        async with (
            Client(endpoints=[guarded.endpoint], user=user) as client,
            client.watch() as call,
        ):
            if forget:
                forget_tokens(guarded)
            await call.send(message("WatchRequest")(create_request={"key": key}))
            response = await anext(call)
            assert response.canceled
            return await call.refused(response.cancel_reason)

    refused = await refusal(("ann", "word"), b"/closed", forget=False)
    assert isinstance(refused, Refused)
    assert "grant" in (refused.hint or "")
    assert type(await refusal(ROOT, b"/closed", forget=True)) is Unavailable
