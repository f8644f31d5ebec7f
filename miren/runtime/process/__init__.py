"""Containers as plain host processes: no root, no daemon, and no isolation whatsoever.

For development and tests on machines where containerd or gVisor cannot run. See `runtime`.
"""

from miren.runtime.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
