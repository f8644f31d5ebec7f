"""Where the API is and who we are: from files, over TLS."""

from __future__ import annotations

import base64
import ssl
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from miren.base.errors import InvalidInput, NotFound, Refused, Unavailable
from miren.clients.kubernetes import KubernetesClient
from miren.clients.kubernetes.credentials import TokenFile, from_kubeconfig, in_cluster
from tests.builders import KINDS, Greeting, make_greeting
from tests.certificates import Authority, Identity
from tests.kubernetes_api import KubernetesAPI, Resource, serving


def kubeconfig(
    folder: Path, *, cluster: dict[str, Any], user: dict[str, Any], namespace: str = "shop"
) -> Path:
    file = folder / "config"
    context = {"cluster": "c", "user": "u", "namespace": namespace}
    file.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": context}],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return file


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def mine(authority: Authority) -> Identity:
    return authority.vouch("me")


@pytest.fixture
async def secure_url(authority: Authority) -> AsyncIterator[str]:
    """Serve to whoever has a certificate of the authority."""
    identity = authority.vouch("api")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(identity.cert, identity.key)
    api = KubernetesAPI(
        [Resource.of(kind) for kind in KINDS], namespaces=("default", "shop"), bookmarks=0.2
    )
    async with serving(api, context=context) as url:
        yield url


async def test_certificates_in_a_kubeconfig_open_the_door(
    tmp_path: Path, authority: Authority, mine: Identity, secure_url: str
) -> None:
    user = {"client-certificate": mine.cert.name, "client-key-data": encoded(mine.key)}
    cluster = {"server": secure_url, "certificate-authority-data": encoded(authority.ca)}
    file = kubeconfig(tmp_path, cluster=cluster, user=user)
    async with KubernetesClient.from_kubeconfig(file) as client:
        made = await client.create(make_greeting())
        assert made.project == "shop"
        async with client.watch(Greeting, after=made.revision - 1) as events:
            assert (await anext(events)).revision == made.revision


async def test_an_api_of_another_authority_is_not_trusted(
    tmp_path: Path, mine: Identity, secure_url: str
) -> None:
    other = Authority(tmp_path, "other")
    user = {"client-certificate": str(mine.cert), "client-key": str(mine.key)}
    cluster = {"server": secure_url, "certificate-authority": str(other.ca)}
    file = kubeconfig(tmp_path, cluster=cluster, user=user)
    async with KubernetesClient.from_kubeconfig(file) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.get(Greeting, "hi")
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with client.watch(Greeting, after=1) as events:
                await anext(events)


def test_the_usual_place_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kubeconfig(tmp_path, cluster={"server": "http://k:1"}, user={"token": "t"})
    monkeypatch.setenv("KUBECONFIG", f"{file}:/other")
    found = from_kubeconfig()
    assert (found.url, found.project, found.ssl) == ("http://k:1", "shop", None)
    assert found.token is not None
    assert found.token() == "t"


@pytest.mark.parametrize("way", ["exec", "auth-provider", "username", "as", "as-groups"])
def test_ways_to_sign_in_that_are_not_known_are_refused(tmp_path: Path, way: str) -> None:
    file = kubeconfig(tmp_path, cluster={"server": "http://k"}, user={way: {"command": "aws"}})
    with pytest.raises(InvalidInput, match=way) as raised:
        from_kubeconfig(file)
    assert "token" in str(raised.value.hint)


@pytest.mark.parametrize("way", ["proxy-url", "tls-server-name"])
def test_ways_to_a_cluster_that_are_not_known_are_refused(tmp_path: Path, way: str) -> None:
    file = kubeconfig(tmp_path, cluster={"server": "https://k", way: "other"}, user={})
    with pytest.raises(InvalidInput, match=way):
        from_kubeconfig(file)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path, mine: Identity) -> None:
    for part, path in (("client-certificate", mine.cert), ("client-key", mine.key)):
        file = kubeconfig(tmp_path, cluster={"server": "https://k"}, user={part: str(path)})
        with pytest.raises(InvalidInput, match="needs its key"):
            from_kubeconfig(file)


def test_what_is_wrong_with_a_kubeconfig_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing"):
        from_kubeconfig(tmp_path / "nothing")
    file = kubeconfig(tmp_path, cluster={}, user={})
    with pytest.raises(InvalidInput, match="no server"):
        from_kubeconfig(file)
    with pytest.raises(NotFound, match="'there'"):
        from_kubeconfig(file, context="there")
    cluster = {"server": "https://k", "certificate-authority-data": "*"}
    with pytest.raises(InvalidInput, match="base64"):
        from_kubeconfig(kubeconfig(tmp_path, cluster=cluster, user={}))
    file.write_text("users:\n- name: u\n  user: {token: hidden: hidden}\n")
    with pytest.raises(InvalidInput, match="no YAML: line 3, column") as raised:
        from_kubeconfig(file)
    assert "hidden" not in "".join(traceback.format_exception(raised.value))
    file.write_text("- a list")
    with pytest.raises(InvalidInput, match="no kubeconfig"):
        from_kubeconfig(file)


def test_in_a_pod_the_service_account_is_used(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NotFound, match="no pod"):
        in_cluster(account=tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "namespace").write_text("shop")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    found = in_cluster(account=tmp_path)
    assert (found.url, found.project) == ("https://[fd00::1]:6443", "shop")
    assert found.token is not None
    assert found.token() == "t"


def test_a_renewed_token_is_read_within_a_minute(tmp_path: Path) -> None:
    file, time = tmp_path / "token", 0.0
    file.write_text("first")
    token = TokenFile(file, clock=lambda: time)
    assert token() == "first"
    file.write_text("second")
    time = 59.0
    assert token() == "first"
    time = 60.0
    assert token() == "second"
    file.unlink()
    time = 120.0
    with pytest.raises(Refused, match="no token"):
        token()
