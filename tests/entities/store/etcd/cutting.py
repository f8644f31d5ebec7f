"""A way to cut a store off from an etcd that others go on using."""

from __future__ import annotations

from pathlib import Path

from tests.etcd import Member

__all__ = ["Door"]


class Door:
    """An address of `member` that exists only while the door is open.

    Closing it restarts the member, which ends the connections that there are.
    """

    def __init__(self, member: Member) -> None:
        self.endpoint = f"unix://{self._path(member)}"
        self._member = member
        self._path(member).symlink_to(member.socket)

    async def close(self) -> None:
        """Cut off whoever came through the door."""
        self._path(self._member).unlink()
        self._member.kill()
        self._member.start()
        await self._member.until_ready()

    def open(self) -> None:
        """Let everybody in again."""
        self._path(self._member).symlink_to(self._member.socket)

    @staticmethod
    def _path(member: Member) -> Path:
        return member.folder / "door"
