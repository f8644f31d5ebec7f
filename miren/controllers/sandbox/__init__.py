"""Keeps a sandbox running as its spec says.

`lifecycle` decides, as a table; `plan` turns a spec into what a runtime takes; `controller` looks
at the world and does the one step that was decided.
"""

from miren.controllers.sandbox.controller import SandboxController

__all__ = ["SandboxController"]
