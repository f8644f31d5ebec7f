"""OCI images on this host: build, check, keep, read and unpack them, without any daemon.

Everything here works on files and blocks; callers in an event loop use a thread.
"""

from miren.runtime.images.builder import Entry, File, Folder, Layer, Symlink, build_image
from miren.runtime.images.layout import (
    Descriptor,
    ImageConfig,
    Layout,
    Manifest,
    open_layout,
    read_config,
    read_manifest,
)
from miren.runtime.images.library import ImageLibrary
from miren.runtime.images.recipe import Recipe, build_recipe, read_recipe
from miren.runtime.images.unpack import resolve_inside, unpack_image

__all__ = [
    "Descriptor",
    "Entry",
    "File",
    "Folder",
    "ImageConfig",
    "ImageLibrary",
    "Layer",
    "Layout",
    "Manifest",
    "Recipe",
    "Symlink",
    "build_image",
    "build_recipe",
    "open_layout",
    "read_config",
    "read_manifest",
    "read_recipe",
    "resolve_inside",
    "unpack_image",
]
