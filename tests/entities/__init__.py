"""Tests of entities, their client and their stores."""

import pytest

# pytest rewrites the asserts of test modules only, unless told of others before they are imported.
pytest.register_assert_rewrite("tests.entities.replaying", "tests.entities.selections")
