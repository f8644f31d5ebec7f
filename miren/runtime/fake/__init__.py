"""A runtime in memory, for tests of whatever acts through one. It runs no process."""

from miren.runtime.fake.runtime import FakeRuntime

__all__ = ["FakeRuntime"]
