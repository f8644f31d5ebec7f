"""Protobuf messages as classes made at run time, without generated code.

Generated protobuf modules are tied to the protobuf release that made them and register
themselves globally, where they clash with any other client of the same service in the process.
A compiled description (`scripts/generate_protos.py` makes it) is tied to nothing, and loads into
a pool of its own. Needs the `protobuf` package, which only some extras of Miren install.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["Messages"]


class Messages:
    """The message classes of one compiled description, each made when it is first asked for."""

    def __init__(self, descriptors: bytes, *, package: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._package = package
        self._classes: dict[str, Any] = {}
        files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(descriptors))
        for file in files.file:
            self._pool.Add(file)

    def __call__(self, name: str) -> Any:
        """Return the class of the message `name`; raise KeyError if there is none.

        A name with a dot is looked up as it is, others in the package. Fields are only known at
        run time, so the class is untyped.
        """
        found = self._classes.get(name)
        if found is None:
            full_name = name if "." in name else f"{self._package}.{name}"
            found = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))
            self._classes[name] = found
        return found
