"""Archives that the builder would not make: layers given as raw bytes, blobs tampered with."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from miren.runtime.images.builder import Blob, write_archive
from miren.runtime.images.layout import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor

__all__ = ["Member", "layer_bytes", "rewrite", "write_raw"]

# Path, tar type, content or link target.
Member = tuple[str, bytes, str]


def layer_bytes(members: Sequence[Member]) -> bytes:
    """Return an uncompressed layer of these members, whatever their names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, kind, text in members:
            member = tarfile.TarInfo(path)
            member.type = kind
            member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.linkname = text
            content = text.encode() if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_raw(
    target: Path,
    layers: Sequence[bytes],
    *,
    diff_ids: Sequence[str] | None = None,
    config: object = None,
) -> list[str]:
    """Write an image archive of these layers as they are; return the layers' digests."""
    blobs = [_blob(LAYER_TYPE, layer) for layer in layers]
    plain = [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in layers]
    ids = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in plain]
    rootfs = {"type": "layers", "diff_ids": ids if diff_ids is None else list(diff_ids)}
    content = json.dumps({"config": config, "rootfs": rootfs}).encode()
    config_blob = _blob(CONFIG_TYPE, content)
    document = {
        "schemaVersion": 2,
        "config": _json(config_blob.descriptor),
        "layers": [_json(blob.descriptor) for blob in blobs],
    }
    manifest = _blob(MANIFEST_TYPE, json.dumps(document).encode())
    write_archive(target, manifest.descriptor, [manifest, config_blob, *blobs])
    return [blob.descriptor.digest for blob in blobs]


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Copy the archive, each file changed by `change`; None leaves it out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            stream = old.extractfile(member)
            content = change(member.name, stream.read() if stream else b"")
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))


def _blob(media_type: str, content: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(Descriptor(media_type, digest, len(content)), io.BytesIO(content))


def _json(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
