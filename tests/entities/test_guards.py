"""Writes that read first: what moved in between is read again, ten times at most."""

from __future__ import annotations

import pytest

from miren.base.errors import AlreadyExists, MirenError, NotFound
from miren.entities.guards import Moved, repeated


class Refusing:
    """Is refused so often, and then returns how often it was called."""

    def __init__(self, *refusals: MirenError) -> None:
        self.calls = 0
        self._refusals = refusals

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= len(self._refusals):
            raise self._refusals[self.calls - 1]
        return self.calls


async def test_what_moved_is_done_anew() -> None:
    assert await repeated(Refusing(*[Moved("thing/a")] * 9)) == 10


async def test_the_last_refusal_is_raised() -> None:
    refusals = [Moved(f"thing/{number}") for number in range(11)]
    once = Refusing(*refusals)
    with pytest.raises(Moved) as caught:
        await repeated(once)
    assert (caught.value, once.calls) == (refusals[9], 10)


@pytest.mark.parametrize("error", [NotFound("gone"), AlreadyExists("there")])
async def test_any_other_refusal_is_raised_at_once(error: MirenError) -> None:
    once = Refusing(error)
    with pytest.raises(type(error)):
        await repeated(once)
    assert once.calls == 1


async def test_it_can_be_said_when_to_do_it_anew() -> None:
    assert await repeated(Refusing(AlreadyExists("there")), when=(AlreadyExists,)) == 2
