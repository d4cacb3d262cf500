"""gunicorn's HTTP parser, which looks at a request by expressions instead of at one byte after the other.

PERF: gunicorn's own loops over each byte of a header in Python, and an access token has hundreds of them. What is
accepted is the same to the byte: tests/api/test_http_parser.py compares the two.
"""

import re

from gunicorn.asgi import protocol

_METHOD = re.compile(rb"[!$%&'*+\-.^_`|~0-9A-Z]{3,20}")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Parser(protocol.PythonProtocol):
    """The parser of a connection."""

    __slots__ = ()

    def _is_valid_method(self, method: bytes) -> bool:
        """Tell whether it is a token of 3 to 20 characters, none of them a small letter or `#`."""
        return _METHOD.fullmatch(method) is not None

    def _is_valid_token(self, data: bytes) -> bool:
        """Tell whether it is a token (RFC 9110, section 5.6.2)."""
        return _TOKEN.fullmatch(data) is not None

    def _has_invalid_header_chars(self, value: bytes) -> bool:
        """Tell whether it has what no header's value may have (RFC 9110, section 5.5)."""
        return _NOT_IN_VALUES.search(value) is not None
