"""Read OCI image layouts: an archive (a tar of one) or a folder.

An image is a graph of blobs named by digest: index -> manifest -> config and layers. This module
finds the one manifest that fits this host and gives it out as frozen data. It trusts nothing: a
missing or malformed piece is an InvalidInput that names it. Whether the bytes of a blob match
its digest is the library's question, asked once, when an image comes in.

Field names and media types: OCI image-spec 1.1.
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from miren.base.errors import InvalidInput

__all__ = [
    "CONFIG_TYPE",
    "INDEX_TYPE",
    "LAYER_TYPE",
    "MANIFEST_TYPE",
    "REF_NAME",
    "Descriptor",
    "ImageConfig",
    "Layout",
    "Manifest",
    "blob_path",
    "host_architecture",
    "open_layout",
    "read_config",
    "read_json",
    "read_manifest",
]

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"

# Docker's own names of the same two documents, which older tools still write into OCI layouts.
_INDEX_TYPES = {INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"}
_MANIFEST_TYPES = {MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json"}

# Documents are read into memory; nothing honest comes near this.
_LARGEST_DOCUMENT = 4 * 2**20
_DEEPEST_INDEX = 4


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as its parent describes it; `digest` is `sha256:` and 64 hex digits."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def read(cls, value: object, *, where: str) -> Descriptor:
        """Return the descriptor in `value`; raise InvalidInput naming `where` if it is none."""
        match value:
            case {"digest": str(digest), "size": int(size), **rest} if size >= 0:
                blob_path(digest)
                return cls(str(rest.get("mediaType", "")), digest, size)
        raise InvalidInput(f"{where} has a descriptor without a digest and a size")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its manifest's own descriptor, its config and its layers, lowest first."""

    descriptor: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how it is run.

    `command` is the whole argument vector (OCI's Entrypoint followed by its Cmd). `user` is
    `name`, `uid` or `uid:gid`, empty for root. `ports` are TCP ports.
    """

    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    user: str = ""
    ports: tuple[int, ...] = ()


class Layout(Protocol):
    """The files of an image layout, by path inside it."""

    def open(self, path: str) -> IO[bytes]:
        """Return the file, seekable, for the caller to close. Raises InvalidInput if missing."""
        ...


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def open(self, path: str) -> IO[bytes]:
        try:
            return (self.root / path).open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InvalidInput(f"image {self.root} has no {path}") from error


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    tar: tarfile.TarFile
    members: Mapping[str, tarfile.TarInfo]

    def open(self, path: str) -> IO[bytes]:
        member = self.members.get(path)
        stream = self.tar.extractfile(member) if member is not None and member.isreg() else None
        if stream is None:
            raise InvalidInput(f"image {self.path} has no {path}")
        return stream


@contextmanager
def open_layout(path: Path) -> Iterator[Layout]:
    """Open the archive or folder at `path`. Raises InvalidInput when it is neither."""
    if path.is_dir():
        yield _Folder(path)
        return
    hint = "make one with `skopeo copy SOURCE oci-archive:FILE`"
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed below, once the caller is done
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no image archive {path}", hint=hint) from error
    except tarfile.TarError as error:
        raise InvalidInput(f"{path} is not a tar of an OCI image layout", hint=hint) from error
    with tar:
        try:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        except tarfile.TarError as error:
            raise InvalidInput(f"image archive {path} is damaged: {error}") from error
        yield _Archive(path, tar, members)


def blob_path(digest: str) -> str:
    """Return where a layout keeps the blob. Raises InvalidInput for what is no sha256 digest."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise InvalidInput(f"{digest!r} is not a sha256 digest")
    return f"blobs/sha256/{value}"


def read_manifest(layout: Layout) -> Manifest:
    """Return the layout's image for this host. Raises InvalidInput when it holds none."""
    index = read_json(layout, "index.json")
    for _ in range(_DEEPEST_INDEX):
        chosen = _choose(index.get("manifests"))
        descriptor = Descriptor.read(chosen, where="index.json")
        document = read_json(layout, blob_path(descriptor.digest))
        if descriptor.media_type not in _INDEX_TYPES:
            return _manifest(descriptor, document)
        index = document
    raise InvalidInput("the image's indexes are nested too deep")


def read_config(layout: Layout, manifest: Manifest) -> ImageConfig:
    """Return how the image wants to be run."""
    document = read_json(layout, blob_path(manifest.config.digest))
    config = document.get("config") or {}
    try:
        command = [*_texts(config.get("Entrypoint")), *_texts(config.get("Cmd"))]
        env = [entry.partition("=") for entry in _texts(config.get("Env"))]
        ports = [port.partition("/") for port in _texts(config.get("ExposedPorts"))]
    except (AttributeError, TypeError) as error:
        raise InvalidInput(f"config {manifest.config.digest} is malformed") from error
    return ImageConfig(
        command=tuple(command),
        env={name: value for name, _, value in env},
        working_dir=str(config.get("WorkingDir") or "/"),
        user=str(config.get("User") or ""),
        ports=tuple(
            sorted(int(number) for number, _, kind in ports if kind != "udp" and number.isdigit())
        ),
    )


def host_architecture() -> str:
    """Return this machine's architecture by its OCI (Go) name."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _texts(value: object) -> list[str]:
    """Return a list's texts or an object's keys, nothing for null. Raises TypeError."""
    if value is None:
        return []
    if not isinstance(value, list | dict) or not all(isinstance(each, str) for each in value):
        raise TypeError("neither a list of texts nor an object")
    return list(value)


def _choose(manifests: object) -> object:
    """Return the first entry for this host, else the only entry there is."""
    entries: Sequence[Any] = manifests if isinstance(manifests, list) else ()
    wanted = ("linux", host_architecture())
    for entry in entries:
        match entry:
            case {"platform": {"os": str(system), "architecture": str(architecture)}}:
                if (system, architecture) == wanted:
                    return entry
    if len(entries) == 1:
        return entries[0]
    raise InvalidInput(f"the image has no manifest for {'/'.join(wanted)}")


def _manifest(descriptor: Descriptor, document: Mapping[str, Any]) -> Manifest:
    where = f"manifest {descriptor.digest}"
    layers = document.get("layers")
    if descriptor.media_type not in _MANIFEST_TYPES or not isinstance(layers, list):
        raise InvalidInput(f"{where} is of an unknown type: {descriptor.media_type!r}")
    return Manifest(
        descriptor=descriptor,
        config=Descriptor.read(document.get("config"), where=where),
        layers=tuple(Descriptor.read(layer, where=where) for layer in layers),
    )


def read_json(layout: Layout, path: str) -> dict[str, Any]:
    """Return the JSON object at `path`. Raises InvalidInput when it is missing or malformed."""
    try:
        with layout.open(path) as stream:
            value = json.loads(stream.read(_LARGEST_DOCUMENT))
    except (ValueError, tarfile.TarError) as error:
        raise InvalidInput(f"{path} of the image is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} of the image is not a JSON object")
    return value
