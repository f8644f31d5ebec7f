"""Who we are to the API, and where it is: from a kubeconfig file, or inside of a pod.

What a kubeconfig can say and is not done here (programs that make tokens, passwords) is refused
with a sentence, never passed over.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from miren.base.errors import InvalidInput, NotFound, Refused

__all__ = ["Credentials", "TokenFile", "from_kubeconfig", "in_cluster"]

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: What a user and a cluster may say that would be wrong to pass over.
_SIGNS_IN = ("exec", "auth-provider", "username", "as", "as-uid", "as-groups", "as-user-extra")
_REACHES = ("proxy-url", "tls-server-name")
_FRESH = 60.0  # seconds for which a token that was read is used


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API's address, how to trust it, and the token to show it before each request."""

    url: str
    ssl: ssl.SSLContext | None = None
    token: Callable[[], str] | None = None
    project: str = "default"


class TokenFile:
    """A token in a file that somebody renews; it is read again every minute."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._until = float("-inf")

    def __call__(self) -> str:
        """Return the token; raise Refused when there is none to be read."""
        now = self._clock()
        if now >= self._until:
            try:
                self._token = self._path.read_text().strip()
            except OSError as error:
                raise Refused(f"no token in {self._path}: {error.strerror}") from error
            self._until = now + _FRESH
        return self._token


def in_cluster(*, account: Path = ACCOUNT) -> Credentials:
    """Return the credentials of the pod's service account; raise NotFound outside of a pod."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        raise NotFound(
            "this is no pod with a service account",
            hint="use KubernetesClient.from_kubeconfig() outside of a cluster",
        )
    address = f"[{host}]" if ":" in host else host
    namespace = account / "namespace"
    return Credentials(
        f"https://{address}:{port}",
        ssl.create_default_context(cafile=str(account / "ca.crt")),
        TokenFile(account / "token"),
        namespace.read_text().strip() if namespace.exists() else "default",
    )


def from_kubeconfig(path: str | Path | None = None, *, context: str | None = None) -> Credentials:
    """Return what a kubeconfig says: `path`, else the first of $KUBECONFIG, else ~/.kube/config.

    Raises NotFound for a missing file or context, InvalidInput for what is not understood.
    """
    file = Path(path) if path is not None else _usual_place()
    try:
        config = yaml.safe_load(file.read_text())
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}", hint="say which kubeconfig to use") from error
    except yaml.YAMLError as error:
        # Not all that it says: it quotes the place, and a token may stand there.
        raise InvalidInput(f"{file} is no YAML{_place(error)}") from None
    if not isinstance(config, Mapping):
        raise InvalidInput(f"{file} is no kubeconfig")
    chosen = context or config.get("current-context")
    where = _named(config, "contexts", chosen, "context", file)
    cluster = _named(config, "clusters", where.get("cluster"), "cluster", file)
    user = _named(config, "users", where.get("user"), "user", file) if where.get("user") else {}
    return _credentials(_Reader(file), cluster, user, str(where.get("namespace") or "default"))


def _place(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return "" if mark is None else f": line {mark.line + 1}, column {mark.column + 1}"


def _usual_place() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def _named(
    config: Mapping[str, Any], list_name: str, name: object, key: str, file: Path
) -> Mapping[str, Any]:
    for entry in config.get(list_name) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry.get(key) or {}
            return found
    raise NotFound(f"{file}: no {key} {name!r}", hint=f"see its `{list_name}`")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads what a kubeconfig holds in itself (`<name>-data`) or names a file for."""

    file: Path

    def text(self, part: Mapping[str, Any], name: str) -> str | None:
        data, path = part.get(f"{name}-data"), part.get(name)
        if data:
            try:
                return base64.b64decode(data, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise InvalidInput(f"{self.file}: {name}-data is no base64 text") from error
        if not path:
            return None
        try:
            return (self.file.parent / str(path)).read_text()
        except OSError as error:
            raise NotFound(f"{self.file}: {name} {path}: {error.strerror}") from error


def _credentials(
    reader: _Reader, cluster: Mapping[str, Any], user: Mapping[str, Any], project: str
) -> Credentials:
    refused = next((each for each in _SIGNS_IN if each in user), None)
    if refused is not None:
        raise InvalidInput(
            f"{reader.file}: the user signs in by `{refused}`, which is not supported",
            hint="use a service account's token: `kubectl create token NAME`",
        )
    refused = next((each for each in _REACHES if cluster.get(each)), None)
    if refused is not None:
        raise InvalidInput(
            f"{reader.file}: the cluster is reached by `{refused}`, which is not supported",
            hint="give the client an ssl context, or a session of aiohttp that knows the way",
        )
    server = cluster.get("server")
    if not server:
        raise InvalidInput(f"{reader.file}: the cluster has no server")
    context = _tls(reader, cluster, user) if str(server).startswith("https:") else None
    return Credentials(str(server), context, _token(reader, user), project)


def _token(reader: _Reader, user: Mapping[str, Any]) -> Callable[[], str] | None:
    token, file = user.get("token"), user.get("tokenFile")
    if token:
        return lambda: str(token)
    return TokenFile(reader.file.parent / file) if file else None


def _tls(reader: _Reader, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = reader.text(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = (reader.text(user, f"client-{part}") for part in ("certificate", "key"))
    if bool(certificate) is not bool(key):
        raise InvalidInput(f"{reader.file}: a client certificate needs its key, and a key its own")
    if certificate and key:
        # The only way in is by files; they are gone as soon as they are read.
        with tempfile.TemporaryDirectory() as folder:
            chain, private = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain.write_text(certificate)
            private.touch(mode=0o600)
            private.write_text(key)
            context.load_cert_chain(chain, private)
    return context
