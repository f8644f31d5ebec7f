"""The messages of `api.proto` as classes: `message("RangeRequest")(key=b"a")`."""

from __future__ import annotations

from miren.base.protobuf import Messages
from miren.entities.store.etcd.gen.descriptors import DESCRIPTORS

__all__ = ["message"]

#: Untyped: fields are only known at run time. Enum fields take their value's name as text.
message = Messages(DESCRIPTORS, package="miren.etcd")
