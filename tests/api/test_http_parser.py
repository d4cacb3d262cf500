"""Our parser accepts and refuses what gunicorn's does: whatever comes, and in whatever pieces."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from gunicorn.asgi.parser import PythonProtocol
from hypothesis import example, given
from hypothesis import strategies as st

from api.http_parser import Parser

CONFIGURED = {"limit_request_line": 120, "limit_request_fields": 6, "limit_request_field_size": 100}
GET = b"GET /v1/payments?limit=2 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b-c_d\r\n\r\n"
POST = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"

HOSTILE = (
    # Two readings of where a request ends (RFC 9112, section 6.3).
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n Content-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    # Lines that others fold or end elsewhere.
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    # What is no name, no value, no method, no target, no version.
    b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x7f\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA:\tb\xff\t\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GE[T / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    b"GET / HTTP/2.0\r\n\r\n",
    b"GET /\r\n\r\n",
    # More of it than there may be.
    b"GET /" + 120 * b"a" + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + 95 * b"b" + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + 96 * b"b" + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + 6 * b"A: b\r\n" + b"\r\n",
    b"GET / HTTP/1.1\r\n" + 7 * b"A: b\r\n" + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 6 + b"\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA:\r\nB: \t \r\nC: d:e \t\r\n\r\n",
    # What comes behind a request, and how a connection ends.
    GET + POST,
    POST + GET,
    CHUNKED + GET,
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)


def read(parser_class: Callable[..., PythonProtocol], pieces: Iterable[bytes]) -> Sequence[object]:
    """Return all that a parser tells of what it is fed, to the error with which it gives up."""
    told: list[object] = []

    def head() -> bool:
        facts = (parser.method, parser.path, parser.http_version, list(parser.headers))
        told.append((*facts, parser.content_length, parser.is_chunked, parser.should_keep_alive))
        return False

    parser = parser_class(
        on_url=told.append,
        on_header=lambda *header: told.append(header),
        on_headers_complete=head,
        on_body=told.append,
        on_message_complete=lambda: told.append("complete"),
        **CONFIGURED,
    )
    try:
        for piece in pieces:
            parser.feed(piece)
            told.append(parser.remaining())
    except Exception as error:  # noqa: BLE001 - whatever it is, both must say it
        told.append((type(error), str(error)))
    return told


def assert_read_alike(pieces: Sequence[bytes]) -> None:
    assert read(Parser, pieces) == read(PythonProtocol, pieces)


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED, *HOSTILE])
def test_request_is_read_as_by_gunicorn_wherever_it_is_cut(request_: bytes) -> None:
    assert_read_alike([request_])
    assert_read_alike([request_[at : at + 1] for at in range(len(request_))])
    for at in range(1, len(request_)):
        assert_read_alike([request_[:at], request_[at:]])


@pytest.mark.parametrize(
    "around", [(b"", b""), (b"AB", b""), (b"", b"AB"), (b"AB", b"CD"), (2 * b"ABCDEFGHI", b"Z")]
)
@pytest.mark.parametrize("question", ["_is_valid_method", "_is_valid_token", "_has_invalid_header_chars"])
def test_each_byte_is_judged_as_by_gunicorn(question: str, around: tuple[bytes, bytes]) -> None:
    ours, theirs = getattr(Parser(), question), getattr(PythonProtocol(), question)
    before, after = around

    for byte in range(256):
        text = before + bytes([byte]) + after
        assert ours(text) is theirs(text), text
    assert ours(before + after) is theirs(before + after)


@given(st.data(), st.sampled_from([GET, POST, CHUNKED, *HOSTILE]))
def test_request_with_something_amiss_is_read_as_by_gunicorn(data: st.DataObject, request_: bytes) -> None:
    at = data.draw(st.integers(0, len(request_)))
    amiss = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b":", b"\t"]))
    )
    taken = data.draw(st.integers(0, 3))
    cut = data.draw(st.integers(0, len(request_)))
    changed = request_[:at] + amiss + request_[at + taken :]

    assert_read_alike([changed[:cut], changed[cut:]])


@given(
    st.lists(
        st.tuples(st.from_regex(rb"\A[A-Za-z:\t -]{1,6}\Z"), st.binary(max_size=6)).map(b":".join), max_size=6
    ).map(lambda lines: b"".join((b"GET / HTTP/1.1\r\n", *(line + b"\r\n" for line in lines), b"\r\n")))
)
def test_lines_of_a_head_are_read_as_by_gunicorn(request_: bytes) -> None:
    assert_read_alike([request_])


@given(st.lists(st.binary(max_size=40), max_size=4))
@example([b"\r\n\r\n"])
def test_anything_is_read_as_by_gunicorn(pieces: Sequence[bytes]) -> None:
    assert_read_alike(pieces)
