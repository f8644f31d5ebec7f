"""Images on this host: import them, look them up, read how they want to be run."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from miren.base.errors import AlreadyExists, ImageNotFound, RuntimeFailure
from miren.runtime.api import Image
from miren.runtime.containerd.content import SNAPSHOTTER, Content, Descriptor
from miren.runtime.containerd.layout import LayoutImage, open_layout
from miren.runtime.containerd.spec import ImageConfig

__all__ = ["Images", "chain_ids"]


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


class Images:
    """The images of one containerd."""

    def __init__(self, content: Content) -> None:
        self._content = content
        # By digest, which never changes what it names.
        self._configs: dict[str, tuple[ImageConfig, str]] = {}

    async def load(self, source: Path, name: str) -> Image:
        """Store and unpack the image in an OCI archive or folder, and call it `name`.

        Raises InvalidInput for a source that is none. What was stored before a failure is
        removed by containerd's garbage collector.
        """
        with open_layout(source) as layout:
            image = layout.image()
            async with self._content.lease() as lease:
                for blob in image.blobs():
                    await self._content.write(blob, layout.chunks(blob), lease=lease)
                await self._unpack(image, lease)
                await self._connect(image)
                await self._content.set_image(name, image.manifest)
        return Image(name, image.manifest.digest)

    async def _unpack(self, image: LayoutImage, lease: str) -> None:
        parent = ""
        for layer, diff_id, chain in zip(
            image.layers, image.diff_ids, chain_ids(image.diff_ids), strict=True
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

    async def _connect(self, image: LayoutImage) -> None:
        """Tell the garbage collector what keeps what: image, manifest, config, snapshots."""
        children = {"containerd.io/gc.ref.content.config": image.config.digest}
        for index, layer in enumerate(image.layers):
            children[f"containerd.io/gc.ref.content.l.{index}"] = layer.digest
        await self._content.set_labels(image.manifest.digest, children)
        if image.diff_ids:
            top = {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain_ids(image.diff_ids)[-1]}
            await self._content.set_labels(image.config.digest, top)

    async def find(self, name: str) -> Image:
        """Return the image of that name; raise ImageNotFound."""
        target = await self._content.image(name)
        if target is None:
            raise ImageNotFound(
                f"there is no image {name!r} on this host", hint="import or build it first"
            )
        return Image(name, target.digest)

    async def config(self, image: Image) -> tuple[ImageConfig, str]:
        """Return how the image wants to be run, and the name of its top snapshot."""
        if image.digest not in self._configs:
            manifest = json.loads(await self._content.read(image.digest))
            document = json.loads(await self._content.read(manifest["config"]["digest"]))
            self._configs[image.digest] = (ImageConfig.parse(document), _top(document))
        return self._configs[image.digest]


def _top(document: Mapping[str, dict[str, list[str]]]) -> str:
    chain = chain_ids(document["rootfs"]["diff_ids"])
    return chain[-1] if chain else ""
