"""Build OCI image archives that are byte for byte the same for the same input.

An image's digest is only worth something if building twice gives it twice. So nothing of the
moment or the machine gets in: paths are sorted, times and owners are 0, documents are canonical
JSON, and layers are not compressed, since deflate's output changes between zlib versions.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from miren.base.errors import InvalidInput
from miren.runtime.images.layout import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    ImageConfig,
    blob_path,
    host_architecture,
)

__all__ = [
    "PARTIAL",
    "Blob",
    "Entry",
    "File",
    "Folder",
    "Layer",
    "Symlink",
    "build_image",
    "write_archive",
]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: its bytes, or the host file to take them from."""

    content: bytes | Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. Parents that a layer does not mention are made with mode 0755."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link, stored as it is."""

    target: str


# What the folders of unfinished archives are called.
PARTIAL = ".partial-"

Entry = File | Folder | Symlink
# Paths are relative to the image's root ("etc/passwd"); a leading "/" is accepted.
Layer = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob to be written: what it is, and its bytes from `stream`'s current position."""

    descriptor: Descriptor
    stream: IO[bytes]


def build_image(
    target: Path, layers: Sequence[Layer], *, config: ImageConfig, name: str = ""
) -> str:
    """Write the image archive `target`, replacing it whole, and return its manifest digest.

    Layers are lowest first. `name` becomes the reference annotation that other tools show.
    Raises InvalidInput for a path that leaves the image; then `target` is untouched.
    """
    plain = [_normalise(layer) for layer in layers]
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=target.parent) as folder:
        streams = [(Path(folder) / str(number)).open("w+b") for number in range(len(plain))]
        try:
            blobs = [_layer(layer, s) for layer, s in zip(plain, streams, strict=True)]
            digests = [blob.descriptor.digest for blob in blobs]
            config_blob = _document(CONFIG_TYPE, _config_document(config, digests))
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _plain(config_blob.descriptor),
                "layers": [_plain(blob.descriptor) for blob in blobs],
            }
            top = _document(MANIFEST_TYPE, manifest)
            write_archive(target, top.descriptor, [top, config_blob, *blobs], name=name)
        finally:
            for stream in streams:
                stream.close()
    return top.descriptor.digest


def write_archive(
    target: Path, manifest: Descriptor, blobs: Sequence[Blob], *, name: str = ""
) -> None:
    """Write a layout archive of exactly these blobs, in place of whatever `target` is.

    The index comes first, so that reading it needs no pass over the layers.
    """
    entry: dict[str, Any] = _plain(manifest)
    if name:
        entry["annotations"] = {REF_NAME: name}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    unique = {blob.descriptor.digest: blob for blob in blobs}
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=target.parent) as folder:
        partial = Path(folder) / "archive"
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            _add_bytes(tar, "index.json", _canonical(index))
            _add_bytes(tar, "oci-layout", _canonical({"imageLayoutVersion": "1.0.0"}))
            for digest, blob in sorted(unique.items()):
                member = _member(blob_path(digest), 0o644)
                member.size = blob.descriptor.size
                tar.addfile(member, blob.stream)
        partial.replace(target)


def _normalise(layer: Layer) -> dict[str, Entry]:
    """Return the layer by clean relative path, with every parent folder, sorted."""
    entries: dict[str, Entry] = {}
    for path, entry in layer.items():
        clean = PurePosixPath(path.lstrip("/"))
        if ".." in clean.parts or not clean.parts:
            raise InvalidInput(f"{path!r} is no path inside an image")
        for parent in list(clean.parents)[:-1]:
            entries.setdefault(str(parent), Folder())
        entries[str(clean)] = entry
    return dict(sorted(entries.items()))


def _layer(layer: Mapping[str, Entry], stream: IO[bytes]) -> Blob:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in layer.items():
            match entry:
                case File(content=bytes() as content, mode=mode):
                    _add_bytes(tar, path, content, mode=mode)
                case File(content=Path() as source, mode=mode):
                    with source.open("rb") as content_stream:
                        member = _member(path, mode)
                        member.size = source.stat().st_size
                        tar.addfile(member, content_stream)
                case Folder(mode=mode):
                    member = _member(path, mode)
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
                case Symlink(target=target):
                    member = _member(path, 0o777)
                    member.type, member.linkname = tarfile.SYMTYPE, target
                    tar.addfile(member)
    size = stream.tell()
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto, which IO lacks and every file has
    stream.seek(0)
    return Blob(Descriptor(LAYER_TYPE, f"sha256:{digest}", size), stream)


def _config_document(config: ImageConfig, diff_ids: Sequence[str]) -> dict[str, Any]:
    run: dict[str, Any] = {
        "Cmd": list(config.command),
        "Env": [f"{key}={value}" for key, value in sorted(config.env.items())],
        "ExposedPorts": {f"{port}/tcp": {} for port in config.ports},
        "User": config.user,
        "WorkingDir": config.working_dir,
    }
    return {
        "architecture": host_architecture(),
        "config": {key: value for key, value in run.items() if value},
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


def _document(media_type: str, value: Mapping[str, Any]) -> Blob:
    content = _canonical(value)
    digest = hashlib.sha256(content).hexdigest()
    descriptor = Descriptor(media_type, f"sha256:{digest}", len(content))
    return Blob(descriptor, io.BytesIO(content))


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def _add_bytes(tar: tarfile.TarFile, path: str, content: bytes, *, mode: int = 0o644) -> None:
    member = _member(path, mode)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _member(path: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)  # owner and time are 0 unless said otherwise
    member.mode = mode
    return member
