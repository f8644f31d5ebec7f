from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from miren.base import log


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root, ours, others = map(logging.getLogger, ("", "miren", "grpc"))
    handlers, levels = list(root.handlers), [each.level for each in (root, ours, others)]
    yield
    root.handlers[:] = handlers
    for logger, level in zip((root, ours, others), levels, strict=True):
        logger.setLevel(level)


def test_json_lines_carry_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logging.getLogger("miren.x").info("did it", extra={"entity": "sandbox/a", "count": 3})
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == ("did it", "info", "miren.x")
    assert (line["entity"], line["count"]) == ("sandbox/a", 3)
    assert line["time"].endswith("+00:00")


def test_text_lines_are_for_people_and_show_tracebacks_of_errors_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "text")
    logger = logging.getLogger("miren.x")
    try:
        raise ValueError("why")
    except ValueError as error:
        logger.warning("tried", extra={"key": "a b"}, exc_info=error)
        logger.exception("broke")
    logger.debug("not shown")
    out = capsys.readouterr().err
    assert "WARNING tried key='a b'" in out
    assert out.count("Traceback") == 1
    assert "not shown" not in out


def test_debugging_is_not_buried_by_what_libraries_say_unless_it_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("debug", "text")
    library = logging.getLogger("grpc._cython.cygrpc")
    logging.getLogger("miren.x").debug("ours")
    library.debug("[_cygrpc] using a poller")
    library.info("theirs")
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == ["ours", "theirs"]
    logging.getLogger("grpc").setLevel("DEBUG")
    library.debug("asked-for")
    assert "asked-for" in capsys.readouterr().err
    log.configure("error", "text")
    logging.getLogger("miren.x").warning("ours")
    logging.getLogger("other").warning("theirs")
    assert not capsys.readouterr().err
