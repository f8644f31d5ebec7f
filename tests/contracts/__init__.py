"""Conformance suites: each is a class that the tests of every implementation inherit."""

import pytest

# pytest rewrites the asserts of test modules only, unless told of others before they are imported.
pytest.register_assert_rewrite(
    "tests.contracts.runtime_contract",
    "tests.contracts.store_contract",
    "tests.contracts.store_leases",
    "tests.contracts.store_reading",
    "tests.contracts.store_transactions",
    "tests.contracts.store_watching",
)
