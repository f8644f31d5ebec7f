"""The messages of `api.proto` as classes: `message("Mount")(type="bind")`."""

from __future__ import annotations

from typing import Any

from miren.base.protobuf import Messages
from miren.runtime.containerd.gen.descriptors import DESCRIPTORS

__all__ = ["any_message", "message"]

#: Untyped: fields are only known at run time, and client.py is the one place that touches them.
message = Messages(DESCRIPTORS, package="miren.containerd")


def any_message(type_url: str, value: bytes) -> Any:
    """Return `value` wrapped for a field that may hold any type."""
    return message("google.protobuf.Any")(type_url=type_url, value=value)
