"""Answers are the same however they come: in one piece or byte by byte, by length or in chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.clients.kubernetes.answers import Answer
from miren.clients.kubernetes.parsing import Malformed, Parser

CODES = st.sampled_from([200, 201, 404, 409, 500])
BODIES = st.binary(max_size=40)


def by_length(code: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d OK\r\nContent-Length:  %d \r\n\r\n%b" % (code, len(body), body)


def in_chunks(code: int, body: bytes) -> bytes:
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 %d OK\r\nTransfer-Encoding: Chunked\r\n\r\n%b0\r\n\r\n" % (code, chunks)


def with_trailer(code: int, body: bytes) -> bytes:
    return in_chunks(code, body)[:-2] + b"Checksum: 7\r\nMore: 8\r\n\r\n"


def after_continue(code: int, body: bytes) -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" + by_length(code, body)


STYLES = st.sampled_from([by_length, in_chunks, with_trailer, after_continue])


@given(st.lists(st.tuples(STYLES, CODES, BODIES), min_size=1, max_size=3), st.data())
def test_answers_are_the_same_in_whatever_pieces(
    wanted: list[tuple[object, int, bytes]], data: st.DataObject
) -> None:
    parser = Parser()
    for style, code, body in wanted:
        whole = style(code, body)  # type: ignore[operator]  # one of the functions above
        cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
        edges = [0, *sorted(cuts), len(whole)]
        pieces = [whole[a:b] for a, b in pairwise(edges)]
        answers = [parser.feed(piece) for piece in pieces if piece]
        assert answers[-1] == Answer(code, body)
        assert not any(answers[:-1])
        assert not parser.closes


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = Parser()
    assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\nhello ") is None
    assert parser.feed(b"you") is None
    assert parser.end() == Answer(200, b"hello you")
    assert parser.closes


def test_an_answer_that_is_cut_off_is_none() -> None:
    for text in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ):
        parser = Parser()
        assert parser.feed(text) is None
        assert parser.end() is None


def test_a_connection_may_be_said_to_end_and_an_answer_to_be_empty() -> None:
    parser = Parser()
    text = b"HTTP/1.1 204 No Content\r\nconnection: Close\r\n\r\n"
    assert parser.feed(text) == Answer(204, b"")
    assert parser.closes


def test_headers_need_no_space() -> None:
    parser = Parser()
    text = b"HTTP/1.1 200 OK\r\nConnection:close\r\nTransfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n"
    assert parser.feed(text) == Answer(200, b"")
    assert parser.closes


def test_a_connection_on_which_more_comes_than_was_asked_for_is_not_used_again() -> None:
    for whole in (by_length(200, b"{}"), in_chunks(200, b"{}"), with_trailer(200, b"{}")):
        parser = Parser()
        assert parser.feed(whole + b"H") == Answer(200, b"{}")
        assert parser.closes


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: much\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000),
        *[
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b" % chunk
            for chunk in (
                b"zz\r\n",
                b"-6\r\n",
                b"+1\r\na\r\n",
                b"0x1\r\na\r\n",
                b"1\r\nabc5\r\n",
                b"1" * 70_000,
                b"0\r\n" + b"a" * 70_000,
            )
        ],
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        Parser().feed(text)
