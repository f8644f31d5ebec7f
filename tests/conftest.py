"""How much is tried: a representative part by default, `MIREN_SOAK=1` for all of it."""

from __future__ import annotations

from hypothesis import settings

from tests.effort import IS_SOAK

# No deadlines: a slow machine is no failure. The default run repeats itself exactly, so that it
# fails only when the code did change; the soak looks elsewhere each time.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("soak" if IS_SOAK else "default")
