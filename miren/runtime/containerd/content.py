"""Images, blobs, snapshots and leases of containerd, as plain Python values."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from miren.base.errors import AlreadyExists
from miren.runtime.containerd.connection import Connection, errors_of
from miren.runtime.containerd.messages import message
from miren.runtime.images.layout import Descriptor

__all__ = ["SNAPSHOTTER", "Content", "FileSystem", "mount_messages"]

SNAPSHOTTER = "overlayfs"

# Unpacking one layer is bounded by the disk, not by containerd.
_UNPACK = 600.0
# A lease whose owner died ends by itself.
_LEASE_HOURS = 1


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One mount of a root file system, in mount(8)'s terms."""

    type: str
    source: str
    options: tuple[str, ...]


def mount_messages(file_systems: Iterable[FileSystem]) -> list[Any]:
    """Return the messages that stand for `file_systems`."""
    return [
        message("Mount")(type=each.type, source=each.source, options=each.options)
        for each in file_systems
    ]


class Content:
    """The calls about what images are made of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """Keep what is made under the lease's id from the garbage collector until the end."""
        id = f"miren-{uuid.uuid4()}"
        labels = {"containerd.io/gc.expire": _expiry()}
        request = {"id": id, "labels": labels}
        await self._connection.call(
            "leases.v1.Leases/Create", ("CreateLeaseRequest", request), "Empty"
        )
        try:
            yield id
        finally:
            await self._connection.find(
                "leases.v1.Leases/Delete", ("DeleteLeaseRequest", {"id": id}), "Empty"
            )

    async def image(self, name: str) -> Descriptor | None:
        """Return what the image of that name points at, or None."""
        answer = await self._connection.find(
            "images.v1.Images/Get", ("ImageName", {"name": name}), "ImageMessage"
        )
        return None if answer is None else _descriptor(answer.image.target)

    async def set_image(self, name: str, target: Descriptor) -> None:
        """Point the name at `target`, whether it exists or not."""
        image = message("Image")(name=name, target=_descriptor_message(target))
        request = ("ImageMessage", {"image": image})
        try:
            await self._connection.call("images.v1.Images/Create", request, "ImageMessage")
        except AlreadyExists:
            await self._connection.call("images.v1.Images/Update", request, "ImageMessage")

    async def labels(self, digest: str) -> Mapping[str, str] | None:
        """Return the labels of a blob, or None when it is not in the store."""
        answer = await self._connection.find(
            "content.v1.Content/Info",
            ("ContentInfoRequest", {"digest": digest}),
            "ContentInfoResponse",
        )
        return None if answer is None else dict(answer.info.labels)

    async def set_labels(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set labels of a blob; these tell the garbage collector what else it needs."""
        info = message("ContentInfo")(digest=digest, labels=labels)
        mask = message("google.protobuf.FieldMask")(paths=[f"labels.{key}" for key in labels])
        await self._connection.call(
            "content.v1.Content/Update",
            ("UpdateContentRequest", {"info": info, "update_mask": mask}),
            "ContentInfoResponse",
        )

    async def read(self, digest: str) -> bytes:
        """Return a whole blob; raise NotFound. For manifests and configs, not for layers."""
        async with self._connection.stream(
            "content.v1.Content/Read",
            ("ReadContentRequest", {"digest": digest}),
            "ReadContentResponse",
            timeout=30.0,
        ) as answers:
            return b"".join([answer.data async for answer in answers])

    async def write(self, blob: Descriptor, chunks: AsyncIterator[bytes], *, lease: str) -> None:
        """Store a blob, verified against its digest; do nothing when it is there already."""
        if await self.labels(blob.digest) is not None:
            return
        try:
            with errors_of("content.v1.Content/Write"):
                await self._send(blob, chunks, lease)
        except AlreadyExists:
            return

    async def _send(self, blob: Descriptor, chunks: AsyncIterator[bytes], lease: str) -> None:
        # One message, one answer: the server ends the call early when somebody else stored the
        # blob meanwhile, and only a reader learns why.
        call = self._connection.duplex(
            "content.v1.Content/Write", "WriteContentRequest", "WriteContentResponse", lease=lease
        )
        # A reference of its own, so that a dead writer's partial blob is never resumed.
        reference = f"miren-{uuid.uuid4()}"
        common = {"ref": reference, "total": blob.size, "expected": blob.digest}
        request = message("WriteContentRequest")
        try:
            offset = await _exchange(call, request(action=0, **common))
            async for chunk in chunks:
                offset = await _exchange(call, request(action=1, offset=offset, data=chunk))
            await _exchange(call, request(action=2, offset=offset, **common))
            await call.done_writing()
        finally:
            call.cancel()

    async def prepare_snapshot(
        self, key: str, parent: str, *, lease: str | None = None
    ) -> Sequence[FileSystem]:
        """Make a writable snapshot on top of `parent` ("" for none); return how to mount it."""
        answer = await self._connection.call(
            "snapshots.v1.Snapshots/Prepare",
            ("PrepareSnapshotRequest", _snapshot(key=key, parent=parent)),
            "MountsResponse",
            lease=lease,
        )
        return _file_systems(answer.mounts)

    async def snapshot(self, key: str) -> Sequence[FileSystem] | None:
        """Return how to mount a writable snapshot, or None when there is none."""
        answer = await self._connection.find(
            "snapshots.v1.Snapshots/Mounts",
            ("SnapshotRequest", _snapshot(key=key)),
            "MountsResponse",
        )
        return None if answer is None else _file_systems(answer.mounts)

    async def has_snapshot(self, key: str) -> bool:
        """Return whether a snapshot of that name exists."""
        answer = await self._connection.find(
            "snapshots.v1.Snapshots/Stat",
            ("SnapshotRequest", _snapshot(key=key)),
            "StatSnapshotResponse",
        )
        return answer is not None

    async def snapshots(self) -> Sequence[str]:
        """Return the names of all snapshots, images' layers included."""
        async with self._connection.stream(
            "snapshots.v1.Snapshots/List",
            ("ListSnapshotsRequest", _snapshot()),
            "ListSnapshotsResponse",
            timeout=30.0,
        ) as answers:
            return [str(info.name) async for answer in answers for info in answer.info]

    async def commit_snapshot(self, key: str, name: str, *, lease: str) -> None:
        """Freeze a writable snapshot under `name`; raise AlreadyExists when that is taken."""
        await self._connection.call(
            "snapshots.v1.Snapshots/Commit",
            ("CommitSnapshotRequest", _snapshot(key=key, name=name)),
            "Empty",
            lease=lease,
        )

    async def remove_snapshot(self, key: str) -> None:
        """Remove a snapshot, if there is one."""
        await self._connection.find(
            "snapshots.v1.Snapshots/Remove", ("SnapshotRequest", _snapshot(key=key)), "Empty"
        )

    async def apply(self, layer: Descriptor, onto: Iterable[FileSystem], *, lease: str) -> str:
        """Unpack a layer onto a snapshot; return the digest of its tar, uncompressed."""
        answer = await self._connection.call(
            "diff.v1.Diff/Apply",
            ("ApplyRequest", {"diff": _descriptor_message(layer), "mounts": mount_messages(onto)}),
            "ApplyResponse",
            timeout=_UNPACK,
            lease=lease,
        )
        return str(answer.applied.digest)


async def _exchange(call: Any, request: Any) -> int:
    """Send one message and return the offset in the answer; raise what ended the call."""
    await call.write(request)
    answer = await call.read()
    return int(answer.offset)


def _snapshot(**fields: str) -> Mapping[str, object]:
    return {"snapshotter": SNAPSHOTTER, **fields}


def _descriptor(target: Any) -> Descriptor:
    return Descriptor(target.media_type, target.digest, target.size)


def _descriptor_message(target: Descriptor) -> Any:
    return message("Descriptor")(
        media_type=target.media_type, digest=target.digest, size=target.size
    )


def _file_systems(mounts: Iterable[Any]) -> Sequence[FileSystem]:
    return [FileSystem(each.type, each.source, tuple(each.options)) for each in mounts]


def _expiry() -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime.now(UTC) + timedelta(hours=_LEASE_HOURS)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
