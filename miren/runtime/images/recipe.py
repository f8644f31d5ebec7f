"""Recipes: a folder from which an image is built, without Dockerfile, registry or daemon.

    image.yaml      what the image is called and how it is run
    rootfs/         files copied into the image as they are (optional)

The base layers come from this host: its static busybox, its Python. That makes an image in
milliseconds and offline, for examples, tests and small tools; the digest is the same for as long
as the host's packages and the folder are.
"""

from __future__ import annotations

import stat
from enum import StrEnum
from pathlib import Path

from miren.base.errors import InvalidInput
from miren.base.yaml import parse
from miren.entities.model import Map, Model, field
from miren.entities.reading import read
from miren.runtime.images.bases import busybox_layer, python_layer
from miren.runtime.images.builder import Entry, File, Folder, Layer, Symlink, build_image
from miren.runtime.images.layout import ImageConfig

__all__ = ["Base", "Recipe", "build_recipe", "read_recipe"]

_FILE = "image.yaml"
_ROOTFS = "rootfs"
_PATH = "/usr/local/bin:/usr/bin:/bin"


class Base(StrEnum):
    """What an image starts from."""

    SCRATCH = "scratch"
    BUSYBOX = "busybox"
    PYTHON = "python"


class Recipe(Model):
    """The content of image.yaml. Unknown keys are errors."""

    name: str = field(pattern=r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", doc="what the image is called")
    base: Base = field(default=Base.SCRATCH, doc="what the files are put on top of")
    command: tuple[str, ...] = field(default=(), doc="the argument vector, no shell")
    env: Map[str] = field(default={}, doc="the command's environment")
    working_dir: str = field(default="/", pattern=r"/.*", doc="where the command starts")
    user: str = field(default="", doc="name, uid or uid:gid; root if empty")
    ports: tuple[int, ...] = field(default=(), doc="the TCP ports it listens on")


def read_recipe(folder: Path) -> Recipe:
    """Return what `folder/image.yaml` says. Raises InvalidInput with every problem, in place."""
    path = folder / _FILE
    try:
        parsed = parse(path.read_text(), str(path))
    except FileNotFoundError as error:
        hint = "a recipe is a folder with an image.yaml and a folder rootfs/"
        raise InvalidInput(f"there is no {path}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text") from error
    if parsed.problems:
        raise InvalidInput(parsed.problems)
    if len(parsed.documents) != 1:
        raise InvalidInput(f"{path} holds {len(parsed.documents)} recipes instead of one")
    [document] = parsed.documents
    return read(Recipe, document.value, locate=lambda path, key: document.position(path, key=key))


def build_recipe(folder: Path, target: Path) -> tuple[Recipe, str]:
    """Build the image of the recipe into the archive `target`; return recipe and digest.

    Raises InvalidInput for the recipe, RuntimeFailure where the host lacks the base.
    """
    recipe = read_recipe(folder)
    layers = _base_layers(recipe.base)
    own = _rootfs_layer(folder / _ROOTFS)
    if own:
        layers.append(own)
    config = ImageConfig(
        command=recipe.command,
        env={"PATH": _PATH, **recipe.env},
        working_dir=recipe.working_dir,
        user=recipe.user,
        ports=recipe.ports,
    )
    return recipe, build_image(target, layers, config=config, name=recipe.name)


def _base_layers(base: Base) -> list[Layer]:
    match base:
        case Base.SCRATCH:
            return []
        case Base.BUSYBOX:
            return [busybox_layer()]
        case Base.PYTHON:
            return [busybox_layer(), python_layer()]


def _rootfs_layer(root: Path) -> dict[str, Entry]:
    """Return the folder's content. Modes are narrowed to what a checkout keeps: x or not."""
    layer: dict[str, Entry] = {}
    if not root.is_dir():
        return layer
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            layer[inside] = Symlink(str(path.readlink()))
        elif stat.S_ISDIR(mode):
            layer[inside] = Folder()
        elif stat.S_ISREG(mode):
            layer[inside] = File(path, 0o755 if mode & stat.S_IXUSR else 0o644)
        else:
            raise InvalidInput(f"{path} is no file, folder or symbolic link")
    return layer
