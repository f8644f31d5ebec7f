"""Images on this host: import them, look them up, read how they want to be run."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from miren.base.errors import AlreadyExists, ImageNotFound, InvalidInput, RuntimeFailure
from miren.runtime.api import Image
from miren.runtime.containerd.accounts import (
    find_user,
    image_layers,
    needs_accounts,
    read_account_file,
)
from miren.runtime.containerd.content import SNAPSHOTTER, Content
from miren.runtime.containerd.spec import User
from miren.runtime.images.layout import (
    Descriptor,
    ImageConfig,
    Layout,
    Manifest,
    blob_path,
    open_layout,
    read_config,
    read_json,
    read_manifest,
)

__all__ = ["Images", "RunnableImage", "chain_ids"]

_CHUNK = 1 << 20


def chain_ids(diff_ids: Sequence[str]) -> Sequence[str]:
    """Return the snapshot name of each layer on top of those below it (OCI image spec)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        if chain:
            joined = f"{chain[-1]} {diff_id}".encode()
            chain.append(f"sha256:{hashlib.sha256(joined).hexdigest()}")
        else:
            chain.append(diff_id)
    return chain


@dataclass(frozen=True, slots=True)
class RunnableImage:
    """How the image wants to be run, as whom, and the snapshot of its topmost layer."""

    config: ImageConfig
    user: User
    snapshot: str


class Images:
    """The images of one containerd."""

    def __init__(self, content: Content) -> None:
        self._content = content
        # By digest, which never changes what it names.
        self._runnable: dict[str, RunnableImage] = {}

    async def load(self, source: Path, name: str) -> Image:
        """Store and unpack the image in an OCI archive or folder, and call it `name`.

        Raises InvalidInput for a source that is none. What was stored before a failure is
        removed by containerd's garbage collector.
        """
        with open_layout(source) as layout:
            manifest = await asyncio.to_thread(read_manifest, layout)
            diff_ids = _diff_ids(layout, manifest)
            async with self._content.lease() as lease:
                for blob in (*manifest.layers, manifest.config, manifest.descriptor):
                    await self._content.write(blob, _chunks(layout, blob), lease=lease)
                await self._unpack(manifest, diff_ids, lease)
                await self._connect(manifest, diff_ids)
                await self._content.set_image(name, manifest.descriptor)
        return Image(name, manifest.descriptor.digest)

    async def _unpack(self, manifest: Manifest, diff_ids: Sequence[str], lease: str) -> None:
        parent = ""
        for layer, diff_id, chain in zip(
            manifest.layers, diff_ids, chain_ids(diff_ids), strict=True
        ):
            if not await self._content.has_snapshot(chain):
                await self._unpack_layer(layer, diff_id, (parent, chain), lease)
            parent = chain

    async def _unpack_layer(
        self, layer: Descriptor, diff_id: str, chain: tuple[str, str], lease: str
    ) -> None:
        parent, name = chain
        key = f"unpack-{uuid.uuid4()}"
        mounts = await self._content.prepare_snapshot(key, parent, lease=lease)
        try:
            applied = await self._content.apply(layer, mounts, lease=lease)
            if applied != diff_id:
                raise RuntimeFailure(f"layer {layer.digest} unpacks to {applied}, not {diff_id}")
            await self._content.commit_snapshot(key, name, lease=lease)
        except AlreadyExists:
            # Somebody else unpacked the same layer meanwhile.
            await self._content.remove_snapshot(key)

    async def _connect(self, manifest: Manifest, diff_ids: Sequence[str]) -> None:
        """Tell the garbage collector what keeps what: image, manifest, config, snapshots."""
        children = {"containerd.io/gc.ref.content.config": manifest.config.digest}
        for index, layer in enumerate(manifest.layers):
            children[f"containerd.io/gc.ref.content.l.{index}"] = layer.digest
        await self._content.set_labels(manifest.descriptor.digest, children)
        if diff_ids:
            top = {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain_ids(diff_ids)[-1]}
            await self._content.set_labels(manifest.config.digest, top)

    async def find(self, name: str) -> Image:
        """Return the image of that name; raise ImageNotFound."""
        target = await self._content.image(name)
        if target is None:
            raise ImageNotFound(
                f"there is no image {name!r} on this host", hint="import or build it first"
            )
        return Image(name, target.digest)

    async def runnable(self, image: Image) -> RunnableImage:
        """Return what it takes to run the image."""
        if image.digest not in self._runnable:
            self._runnable[image.digest] = await self._read(image.digest)
        return self._runnable[image.digest]

    async def _read(self, digest: str) -> RunnableImage:
        document = json.loads(await self._content.read(digest))
        config = Descriptor.read(document["config"], where=f"manifest {digest}")
        stored = _Documents({blob_path(config.digest): await self._content.read(config.digest)})
        manifest = Manifest(Descriptor("", digest, 0), config, ())
        chain = chain_ids(read_json(stored, blob_path(config.digest))["rootfs"]["diff_ids"])
        snapshot = chain[-1] if chain else ""
        wanted = read_config(stored, manifest)
        return RunnableImage(wanted, await self._user(wanted.user, snapshot), snapshot)

    async def _user(self, user: str, snapshot: str) -> User:
        """Return whom the image means, looked up in its own files where it takes that."""
        if not needs_accounts(user):
            return find_user(user, "", "")
        key = f"accounts-{uuid.uuid4()}"
        async with self._content.lease() as lease:
            mounts = await self._content.prepare_snapshot(key, snapshot, lease=lease)
            layers = image_layers(mounts)
            passwd = await asyncio.to_thread(read_account_file, layers, "passwd")
            group = await asyncio.to_thread(read_account_file, layers, "group")
            await self._content.remove_snapshot(key)
        return find_user(user, passwd, group)


@dataclass(frozen=True, slots=True)
class _Documents:
    """Documents read already, in the shape of a layout."""

    blobs: Mapping[str, bytes]

    def open(self, path: str) -> IO[bytes]:
        return io.BytesIO(self.blobs[path])


def _diff_ids(layout: Layout, manifest: Manifest) -> Sequence[str]:
    document = read_json(layout, blob_path(manifest.config.digest))
    match document.get("rootfs"):
        case {"diff_ids": list(diff_ids)} if len(diff_ids) == len(manifest.layers):
            return [str(diff_id) for diff_id in diff_ids]
    raise InvalidInput(f"config {manifest.config.digest} does not name each layer's diff id")


async def _chunks(layout: Layout, blob: Descriptor) -> AsyncIterator[bytes]:
    with layout.open(blob_path(blob.digest)) as file:
        while data := await asyncio.to_thread(file.read, _CHUNK):
            yield data
