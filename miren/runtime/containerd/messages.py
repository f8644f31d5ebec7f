"""The messages of `api.proto` as classes, without generated code.

Generated protobuf modules are tied to the protobuf release that made them and register
themselves globally, where they clash with any other containerd client in the process. The
compiled description is tied to nothing, and loads into a pool of our own.
"""

from __future__ import annotations

import base64
import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from miren.runtime.containerd.gen.descriptors import DESCRIPTORS

__all__ = ["any_message", "message"]


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(DESCRIPTORS))
    for file in files.file:
        pool.Add(file)
    return pool


@functools.cache
def message(name: str) -> Any:
    """Return the class of the message called `name` in api.proto; raise KeyError if none is.

    Its fields are only known at run time, so the class is untyped: client.py is the one place
    that touches it.
    """
    full_name = name if "." in name else f"miren.containerd.{name}"
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(full_name))


def any_message(type_url: str, value: bytes) -> Any:
    """Return `value` wrapped for a field that may hold any type."""
    return message("google.protobuf.Any")(type_url=type_url, value=value)
