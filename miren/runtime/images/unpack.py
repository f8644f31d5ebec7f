"""Unpack an image's layers into a folder, as a container would see them, and nowhere else.

A layer is a tar made by a stranger and applied onto what strangers' layers made before, so its
paths are resolved here, one component at a time, the way the kernel would after chroot: a symlink
on the way is followed inside the root, and `..` stops at the root. The last component is never
followed: what stood there is removed first.

Owners are not kept, and neither are setuid and setgid bits, for the files belong to whoever
unpacks them. Device nodes are left out. Whiteouts: OCI image-spec 1.1, layer.md.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from miren.base.errors import InvalidInput
from miren.runtime.images.layout import Layout, Manifest, blob_path

__all__ = ["layer_members", "resolve_inside", "unpack_image"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# The kernel's own limit on symlinks in one path (path_resolution(7)).
_MOST_SYMLINKS = 40


def unpack_image(layout: Layout, manifest: Manifest, root: Path) -> None:
    """Apply all layers to `root`, an empty folder. Raises InvalidInput naming the bad layer."""
    for layer in manifest.layers:
        with layout.open(blob_path(layer.digest)) as stream:
            _apply(layer.digest, stream, root)


@contextmanager
def layer_members(
    digest: str, stream: IO[bytes]
) -> Iterator[tuple[tarfile.TarFile, Iterator[tuple[str, tarfile.TarInfo]]]]:
    """Open a layer, plain or gzip; give the tar and its members with their clean paths.

    Raises InvalidInput naming the layer for what is no whole tar or leaves the image.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            yield tar, _clean_members(digest, tar)
    # A cut or damaged gzip stream shows as EOFError or as OSError from the decompressor.
    except (tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"layer {digest} is not a whole tar: {error}") from error


def resolve_inside(root: Path, path: str) -> Path:
    """Return the host path of `path` in `root`, every symlink but the last followed inside.

    Nothing needs to exist. Raises InvalidInput for a loop of symlinks.
    """
    parent, name = _split(root, path)
    return parent / name if name else parent


def _split(root: Path, path: str) -> tuple[Path, str]:
    """Return the real folder that holds `path`, and the last component ("" for the root)."""
    waiting = deque(part for part in path.split("/") if part not in ("", "."))
    here: list[str] = []
    links = 0
    while waiting:
        part = waiting.popleft()
        if part == "..":
            del here[-1:]
            continue
        candidate = root.joinpath(*here, part)
        if not waiting:
            return root.joinpath(*here), part
        if candidate.is_symlink():
            links += 1
            if links > _MOST_SYMLINKS:
                raise InvalidInput(f"{path!r} leads through too many symbolic links")
            target = str(candidate.readlink())
            if target.startswith("/"):
                here.clear()
            waiting.extendleft(reversed([p for p in target.split("/") if p not in ("", ".")]))
            continue
        here.append(part)
    return root.joinpath(*here), ""


def _clean_members(digest: str, tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    for member in tar:
        for name in (member.name, member.linkname if member.islnk() else ""):
            if ".." in PurePosixPath(name).parts or "\0" in name:
                raise InvalidInput(f"layer {digest} reaches out of the image with {name!r}")
        path = str(PurePosixPath(member.name.lstrip("/")))
        if path != ".":
            yield path, member


def _apply(digest: str, stream: IO[bytes], root: Path) -> None:
    own: set[Path] = set()  # what this layer made: an opaque marker hides only what is below
    modes: dict[Path, int] = {}
    with layer_members(digest, stream) as (tar, members):
        for path, member in members:
            parent, name = _split(root, path)
            _make_parents(parent, root, digest)
            if name == _OPAQUE:
                _hide_lower(parent, own)
            elif name.startswith(_WHITEOUT):
                _remove(parent / name.removeprefix(_WHITEOUT))
            elif name:
                _put(tar, member, parent / name, root)
                own.update([parent / name, *(parent / name).parents])
                if member.isdir():
                    modes[parent / name] = member.mode
    # Last, so that a read-only folder can be filled. The owner keeps access, to delete it again.
    for folder, mode in modes.items():
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(mode & 0o1777 | stat.S_IRWXU)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> None:
    if member.isdir():
        if target.is_symlink() or not target.is_dir():
            _remove(target)
            target.mkdir()
        return
    if member.isdev() and not member.isfifo():
        return
    _remove(target)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        source = resolve_inside(root, member.linkname)
        if not os.path.lexists(source) or source.is_dir():
            raise tarfile.TarError(f"{member.name} links to {member.linkname}, which is no file")
        target.hardlink_to(source)  # a symlink is linked itself, not followed
    elif member.isfifo():
        os.mkfifo(target, member.mode & 0o777)
    else:
        content = tar.extractfile(member)
        if content is None:
            raise tarfile.TarError(f"{member.name} is of an unknown type")
        with content, target.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        target.chmod(member.mode & 0o777)


def _make_parents(folder: Path, root: Path, digest: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        inside = folder.relative_to(root)
        raise InvalidInput(f"layer {digest} puts something into /{inside}, a file") from error


def _hide_lower(folder: Path, own: set[Path]) -> None:
    for child in folder.iterdir():
        if child not in own:
            _remove(child)
        elif child.is_dir() and not child.is_symlink():
            _hide_lower(child, own)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
