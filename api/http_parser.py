"""gunicorn's HTTP parser, which looks at a request by expressions instead of at one byte after the other.

PERF: gunicorn's own loops over each byte of a header in Python, and an access token has hundreds of them. A head
that comes whole, as nearly all do, is read by one expression; any other, whatever is wrong with it, and what comes
behind it, by gunicorn. What is accepted is the same to the byte: tests/api/test_http_parser.py compares the two.
"""

import re

from gunicorn.asgi import protocol

_METHOD_TEXT = rb"[!$%&'*+\-.^_`|~0-9A-Z]{3,20}"
_TOKEN_TEXT = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
_METHOD = re.compile(_METHOD_TEXT)
_TOKEN = re.compile(_TOKEN_TEXT)
_NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Nothing in it can be read in two ways, so it gives up without trying again.
_HEAD = re.compile(
    rb"(%b) (/[\x21-\x7e]*+) HTTP/1\.1\r\n((?:%b:%b\r\n)*+)\r\n" % (_METHOD_TEXT, _TOKEN_TEXT, _VALUE_TEXT)
)
_FIELD = re.compile(rb"([^:]+):([^\r]*)\r\n")


class Parser(protocol.PythonProtocol):
    """The parser of a connection."""

    @property
    def is_followed(self) -> bool:
        """Whether something came behind the request that is read."""
        return bool(self._buffer)

    @property
    def has_begun(self) -> bool:
        """Whether a request has begun to come."""
        return bool(self._buffer) or self._state != "request_line"

    @property
    def lacks_host(self) -> bool:
        """Whether a request of HTTP/1.1 names no host. Of two hosts gunicorn itself will hear nothing."""
        return self.http_version >= (1, 1) and b"host" not in dict(self._headers_list)

    def feed(self, data: bytes) -> None:
        """Read on; calls back as gunicorn's does. Errors: ParseError."""
        head = None if self._state != "request_line" or self._buffer else _HEAD.match(data)
        try:
            if head is None or not self._has_read(head):
                super().feed(data)
            elif len(data) > head.end():
                super().feed(data[head.end() :])
        except ValueError as error:
            # NOTE: gunicorn 27 has Python read a Content-Length of whatever length, which has its own limit.
            raise protocol.ParseError("a number that nobody can read") from error

    def _has_read(self, head: re.Match[bytes]) -> bool:
        """Read a request's head, if it is beyond doubt.

        One that is longer than a single line may be is left to gunicorn, which counts line by line.
        """
        if head.end() > min(self._limit_request_line, self._limit_request_field_size):
            return False
        method, target, lines = head.groups()
        fields = [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(lines)]
        if len(fields) > self._limit_request_fields:
            return False
        self.method, self.path, self.http_version = method, target, (1, 1)
        self._empty_line_skipped = True
        self._headers_list, self._header_count = fields, len(fields)
        self._tell_head()
        self._state = "headers"
        self._finalize_headers()
        return True

    def _tell_head(self) -> None:
        """Call back for each part of a head, whoever wants to hear of them."""
        if self._on_message_begin:
            self._on_message_begin()
        if self._on_url:
            self._on_url(self.path)
        if self._on_header:
            for name, value in self._headers_list:
                self._on_header(name, value)

    def _is_valid_method(self, method: bytes) -> bool:
        """Tell whether it is a token of 3 to 20 characters, none of them a small letter or `#`."""
        return _METHOD.fullmatch(method) is not None

    def _is_valid_token(self, data: bytes) -> bool:
        """Tell whether it is a token (RFC 9110, section 5.6.2)."""
        return _TOKEN.fullmatch(data) is not None

    def _has_invalid_header_chars(self, value: bytes) -> bool:
        """Tell whether it has what no header's value may have (RFC 9110, section 5.5)."""
        return _NOT_IN_VALUES.search(value) is not None
