"""Read an OCI image layout, as a folder or as a tar of one.

Blobs are named by their digest and verified by whoever stores them; here only the path to the
one manifest that fits this host is walked.
"""

from __future__ import annotations

import asyncio
import json
import platform
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from miren.base.errors import InvalidInput
from miren.runtime.containerd.content import Descriptor

__all__ = ["ImageLayout", "LayoutImage", "open_layout"]

_CHUNK = 1 << 20
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Manifests and configs are small; a blob that says otherwise is none.
_DOCUMENT_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """One image: the blobs it needs, and the digests of its layers' tars, uncompressed."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]

    def blobs(self) -> Sequence[Descriptor]:
        """Return every blob, the manifest last: what it names is there before it."""
        return [*self.layers, self.config, self.manifest]


class ImageLayout:
    """An open layout. `open` returns a member's bytes as a file, or raises KeyError."""

    def __init__(self, name: str, members: Mapping[str, Any], opener: Any) -> None:
        self._name = name
        self._members = members
        self._opener = opener

    def image(self) -> LayoutImage:
        """Return the image for this host; raise InvalidInput when there is none, or several."""
        entries = self._json("index.json").get("manifests") or []
        manifest = self._pick(entries)
        document = self._json(_blob_path(manifest.digest))
        try:
            config = _descriptor(document["config"])
            layers = tuple(_descriptor(layer) for layer in document["layers"])
            diff_ids = tuple(self._json(_blob_path(config.digest))["rootfs"]["diff_ids"])
        except KeyError as error:
            raise InvalidInput(f"the image in {self._name} lacks {error}") from error
        if len(layers) != len(diff_ids):
            raise InvalidInput(
                f"the image in {self._name} has {len(layers)} layers and {len(diff_ids)} diff ids"
            )
        return LayoutImage(manifest, config, layers, diff_ids)

    def _pick(self, entries: Sequence[Mapping[str, Any]]) -> Descriptor:
        fitting = [entry for entry in entries if _fits(entry)]
        if len(fitting) != 1:
            raise InvalidInput(
                f"{self._name} holds {len(fitting)} images for this host, not one",
                hint="export one image, for this machine's architecture",
            )
        chosen = _descriptor(fitting[0])
        if chosen.media_type in _INDEXES:
            return self._pick(self._json(_blob_path(chosen.digest)).get("manifests") or [])
        return chosen

    def _json(self, path: str) -> Any:
        with self._open(path) as file:
            data = file.read(_DOCUMENT_LIMIT)
        try:
            return json.loads(data)
        except ValueError as error:
            raise InvalidInput(f"{path} in {self._name} is no JSON: {error}") from error

    async def chunks(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """Yield a blob's bytes in pieces, read in a thread."""
        with self._open(_blob_path(blob.digest)) as file:
            while data := await asyncio.to_thread(file.read, _CHUNK):
                yield data

    def _open(self, path: str) -> IO[bytes]:
        member = self._members.get(path)
        file = None if member is None else self._opener(member)
        if file is None:
            raise InvalidInput(
                f"{self._name} is no OCI image layout: it has no {path}",
                hint="make one with: skopeo copy docker-archive:image.tar oci-archive:image.oci",
            )
        opened: IO[bytes] = file
        return opened


@contextmanager
def open_layout(source: Path) -> Iterator[ImageLayout]:
    """Open the archive or folder `source`; raise InvalidInput when it is neither."""
    if source.is_dir():
        files = {
            str(path.relative_to(source)): path for path in source.rglob("*") if path.is_file()
        }
        yield ImageLayout(str(source), files, lambda path: path.open("rb"))
        return
    try:
        archive = tarfile.open(source)  # noqa: SIM115
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file {source}") from error
    except tarfile.TarError as error:
        raise InvalidInput(f"{source} is no tar archive: {error}") from error
    with archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        yield ImageLayout(str(source), members, archive.extractfile)


def _fits(entry: Mapping[str, Any]) -> bool:
    found = entry.get("platform")
    if not found:
        return True
    machine = platform.machine()
    return (found.get("os"), found.get("architecture")) == (
        "linux",
        _ARCHITECTURES.get(machine, machine),
    )


def _descriptor(document: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        document.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
        document["digest"],
        int(document["size"]),
    )


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"
