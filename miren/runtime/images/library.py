"""Keep image archives by name in one folder, each checked whole on its way in.

What comes in is not stored as it came: the one image for this host is picked, every blob of it is
compared with its digest and size, every layer is read to its end, and a fresh archive of exactly
those blobs is written. So an archive in the library is complete, and says what its name promises.

A name becomes a file name by percent escapes, which can be undone: there is no second list that
could disagree with the folder.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from miren.base.errors import ImageNotFound, InvalidInput
from miren.runtime.api import Image
from miren.runtime.images.builder import PARTIAL, Blob, write_archive
from miren.runtime.images.layout import (
    Descriptor,
    Layout,
    Manifest,
    blob_path,
    open_layout,
    read_config,
    read_json,
    read_manifest,
)
from miren.runtime.images.unpack import layer_members

__all__ = ["ImageLibrary", "verify_image"]

_SUFFIX = ".tar"
# The usual limit of a file name in bytes (NAME_MAX), which a long name can reach when escaped.
_LONGEST = 255
_CHUNK = 2**20


class ImageLibrary:
    """The archives in `folder`, which is made when the first one is added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, archive: Path, name: str) -> Image:
        """Check the archive or layout folder and keep it as `name`, instead of an older one.

        Raises InvalidInput that names the missing or wrong blob; then nothing has changed.
        """
        target = self._path(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        with open_layout(archive) as layout:
            manifest = read_manifest(layout)
            verify_image(layout, manifest)
            wanted = [manifest.descriptor, manifest.config, *manifest.layers]
            blobs = [Blob(each, layout.open(blob_path(each.digest))) for each in wanted]
            try:
                write_archive(target, manifest.descriptor, blobs, name=name)
            finally:
                for blob in blobs:
                    blob.stream.close()
        return Image(name, manifest.descriptor.digest)

    def get(self, name: str) -> tuple[Image, Path]:
        """Return the image and its archive. Raises ImageNotFound with names that are close."""
        path = self._path(name)
        if not path.exists():
            raise ImageNotFound(f"there is no image {name!r} on this host", hint=self._hint(name))
        return self._read(path), path

    def list(self) -> Sequence[Image]:
        """Return all images, by name."""
        return [self._read(path) for path in sorted(self._folder.glob(f"*{_SUFFIX}"))]

    def remove(self, name: str) -> None:
        """Forget the image; one that is not here is forgotten already."""
        self._path(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what an interrupted `add` left. Only for the one who owns the folder."""
        for partial in self._folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial)

    def _path(self, name: str) -> Path:
        file = quote(name, safe="") + _SUFFIX
        # A leading dot would hide the archive from the listing, and "." is never escaped.
        if not name or name.startswith(".") or len(file) > _LONGEST:
            raise InvalidInput(f"{name!r} cannot be the name of an image")
        return self._folder / file

    def _read(self, path: Path) -> Image:
        with open_layout(path) as layout:
            digest = read_manifest(layout).descriptor.digest
        return Image(unquote(path.name.removesuffix(_SUFFIX)), digest)

    def _hint(self, name: str) -> str:
        files = [path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")]
        close = difflib.get_close_matches(name, [unquote(file) for file in files], n=3, cutoff=0.4)
        if close:
            return f"did you mean {' or '.join(repr(each) for each in sorted(close))}?"
        return "import it from an OCI archive first"


def verify_image(layout: Layout, manifest: Manifest) -> None:
    """Raise InvalidInput naming the blob that is missing, wrong, or no layer of this image."""
    for blob in (manifest.descriptor, manifest.config, *manifest.layers):
        _check_digest(layout, blob)
    read_config(layout, manifest)
    document = read_json(layout, blob_path(manifest.config.digest))
    match document:
        case {"rootfs": {"diff_ids": [*diff_ids]}} if len(diff_ids) == len(manifest.layers):
            pass
        case _:
            raise InvalidInput(f"config {manifest.config.digest} names other layers")
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        _check_layer(layout, layer, str(diff_id))


def _check_digest(layout: Layout, blob: Descriptor) -> None:
    with layout.open(blob_path(blob.digest)) as stream:
        digest, size = _hash(stream, blob.digest)
    if size != blob.size:
        raise InvalidInput(f"blob {blob.digest} has {size} bytes instead of {blob.size}")
    if digest != blob.digest:
        raise InvalidInput(f"blob {blob.digest} has other content: its digest is {digest}")


def _check_layer(layout: Layout, layer: Descriptor, diff_id: str) -> None:
    if layer.media_type.endswith("zstd"):
        raise InvalidInput(
            f"layer {layer.digest} is compressed with zstd, which is not supported",
            hint="recompress it: `skopeo copy --dest-compress-format gzip FROM oci-archive:FILE`",
        )
    with layout.open(blob_path(layer.digest)) as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        plain = gzip.GzipFile(fileobj=stream, mode="rb") if is_gzip else stream
        digest, _ = _hash(plain, layer.digest)
        if digest != diff_id:
            raise InvalidInput(f"layer {layer.digest} unpacks to {digest}, not to {diff_id}")
        stream.seek(0)
        with layer_members(layer.digest, stream) as (_, members):
            for _ in members:
                pass


def _hash(stream: IO[bytes] | gzip.GzipFile, blob: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InvalidInput(f"blob {blob} cannot be read to its end: {error}") from error
    return f"sha256:{digest.hexdigest()}", size
