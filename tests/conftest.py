"""How much is tried: a representative part by default, `MIREN_SOAK=1` for all of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.effort import IS_SOAK
from tests.etcd import Member, running_etcd
from tests.soundness import Soundness, checking_stores

# No deadlines: a slow machine is no failure. The default run repeats itself exactly, so that it
# fails only when the code did change; the soak looks elsewhere each time.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("soak" if IS_SOAK else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Declare what tests of every folder may be marked with."""
    config.addinivalue_line("markers", "damages: leaves a store behind that is broken on purpose")


@pytest.fixture(scope="session", autouse=True)
def soundness() -> Iterator[Soundness]:
    """Check every store that a client wrote to when it is closed."""
    with checking_stores() as checking:
        yield checking


@pytest.fixture(scope="session")
def shared_etcd() -> Iterator[Member]:
    """One etcd for all tests that only need one; whoever hurts it heals it again."""
    with running_etcd() as member:
        yield member


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing, for runs with hundreds of failures that are all meant."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _damage_is_meant(request: pytest.FixtureRequest, soundness: Soundness) -> None:
    soundness.is_on = request.node.get_closest_marker("damages") is None
