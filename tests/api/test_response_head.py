"""Heads of answers are checked and written as gunicorn does it, whatever an application says."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from hypothesis import given
from hypothesis import strategies as st

from api import response_head
from api.response_head import render_headers, scan_response_headers
from api.worker import Connection

Header = tuple[bytes | str, bytes | str]

ORDINARY = [(b"content-type", b"application/json"), (b"etag", b'"a"'), (b"content-length", b"12")]
NAMES = st.sampled_from(
    [b"content-length", b"Content-Length", b"date", b"server", b"connection", b"a%b", b"x", b"a b", b""]
)
TEXTS = st.one_of(NAMES, st.binary(max_size=4))
HEADERS = st.lists(
    st.tuples(TEXTS, st.binary(max_size=4) | st.sampled_from([b"1", b"\r\nset-cookie: a"])), max_size=5
)


def scanned(scan: object, headers: Sequence[Header]) -> object:
    assert callable(scan)
    try:
        return scan(headers)
    except (InvalidResponseHeader, InvalidResponseHeaderName) as error:
        return type(error), str(error)


def written(connection_class: type[ASGIProtocol], headers: Sequence[Header], *, close: bool) -> bytes:
    connection = connection_class.__new__(connection_class)
    connection._send_response_start(202, headers, SimpleNamespace(version=(1, 1)), close=close)
    head: bytes = connection._response_buffer
    # The date is gunicorn's, and of this second or the next.
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Date: "))


@given(HEADERS)
def test_headers_are_checked_as_by_gunicorn(headers: Sequence[Header]) -> None:
    assert scanned(scan_response_headers, headers) == scanned(response_head._scan_by_gunicorn, headers)


@given(HEADERS, st.booleans())
def test_heads_are_written_as_by_gunicorn(headers: Sequence[Header], closes: bool) -> None:  # noqa: FBT001 - drawn
    assert written(Connection, headers, close=closes) == written(ASGIProtocol, headers, close=closes)


@pytest.mark.parametrize("headers", [[], [("x", "y")], [(b"x", "y")], [("x", b"y"), *ORDINARY], ORDINARY])
def test_text_and_nothing_are_taken_as_by_gunicorn(headers: Sequence[Header]) -> None:
    assert scanned(scan_response_headers, headers) == scanned(response_head._scan_by_gunicorn, headers)
    assert written(Connection, headers, close=False) == written(ASGIProtocol, headers, close=False)


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_of_a_value_is_judged_as_by_gunicorn(byte: int) -> None:
    headers = [*ORDINARY, (b"x", b"a" + bytes([byte]) + b"b")]

    assert scanned(scan_response_headers, headers) == scanned(response_head._scan_by_gunicorn, headers)


def test_ordinary_heads_are_written_without_gunicorn() -> None:
    assert render_headers(ORDINARY) == b'content-type: application/json\r\netag: "a"\r\ncontent-length: 12\r\n'
