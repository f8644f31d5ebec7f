"""What people are told when containerd or a limit says no."""

from __future__ import annotations

import pytest

from miren.base.errors import InvalidInput
from miren.runtime.containerd.classes import check_memory
from miren.runtime.containerd.connection import in_few_words


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "OCI runtime start failed: starting container: starting root container: "
            'starting sandbox: error finding executable "x" in PATH [/bin]: '
            "no such file or directory: unknown",
            'error finding executable "x" in PATH [/bin]: no such file or directory',
        ),
        (
            "failed to create shim task: OCI runtime create failed: exit status 137: unknown",
            "exit status 137",
        ),
        ("snapshot x: not found", "snapshot x: not found"),
        ("unknown", "unknown"),
        ("OCI runtime create failed", "OCI runtime create failed"),
    ],
)
def test_errors_lose_the_wrappings_of_the_layers_between(said: str, words: str) -> None:
    assert in_few_words(said) == words


def test_a_limit_that_gvisor_itself_does_not_fit_in_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match="8Mi of memory are too little: runsc itself needs 16Mi"
    ):
        check_memory("runsc", 8 << 20)
    check_memory("runsc", 16 << 20)
    check_memory("runsc", None)
    check_memory("runc", 8 << 20)
