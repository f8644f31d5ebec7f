"""The certificates an encrypted connection to etcd rests on, read anew for every connection.

So a renewed certificate is taken up when the connection is next made, without a restart. Files
are checked first by the standard library, because grpc only says that the handshake failed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from miren.base.errors import InvalidInput
from miren.entities.store.etcd.addresses import Address

__all__ = ["TLS"]


@dataclass(frozen=True, slots=True)
class TLS:
    """PEM files: `ca` says which servers to trust (None: those the system trusts).

    `cert` and `key` say who we are, for an etcd that asks for client certificates.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def check(self, addresses: Sequence[Address]) -> None:
        """Raise InvalidInput when the files cannot be used, or some address would not use them."""
        for address in addresses:
            if not address.encrypted:
                raise InvalidInput(
                    f"endpoint {address.text} is not encrypted, but certificates are given",
                    hint="write https://, or leave the certificates away",
                )
        if (self.cert is None) != (self.key is None):
            raise InvalidInput(
                "a client certificate is given without its key, or a key without its certificate",
                hint="give both or neither",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca, cert, key = self.ca, self.cert, self.key
        if ca is not None:
            _check("certificate authority", ca, lambda: context.load_verify_locations(ca))
        if cert is not None and key is not None:
            _read("client key", key)
            _check(
                "client certificate",
                cert,
                lambda: context.load_cert_chain(cert, key, password=_no_password),
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what the files hold now, as grpc takes it; raise InvalidInput if unreadable."""
        return grpc.ssl_channel_credentials(
            root_certificates=_optional("certificate authority", self.ca),
            private_key=_optional("client key", self.key),
            certificate_chain=_optional("client certificate", self.cert),
        )


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{what} {path}: {error.strerror}") from error


def _optional(what: str, path: Path | None) -> bytes | None:
    return None if path is None else _read(what, path)


def _check(what: str, path: Path, load: Callable[[], None]) -> None:
    _read(what, path)
    try:
        load()
    except ssl.SSLError as error:
        reason = error.reason or "no PEM file"
        raise InvalidInput(
            f"{what} {path}: {reason.lower().replace('_', ' ')}",
            hint="it has to be a PEM file, and a key has to be its certificate's, unencrypted",
        ) from error


def _no_password() -> str:
    """Answer for a key that asks for a password, so that nobody is asked at the terminal."""
    return ""
