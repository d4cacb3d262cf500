import hashlib
import hmac
import itertools
import re
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.settlement.inbox.signatures import SignatureInvalid, verify_signature
from tests.builders import NOW

BODY = b'{"id":"evt_1"}'
SECRET = "whsec_old"
TIMESTAMP = int(NOW.timestamp())


def signature(body: bytes = BODY, secret: str = SECRET, timestamp: int = TIMESTAMP) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def header(*signatures: str, timestamp: int = TIMESTAMP) -> str:
    return ",".join([f"t={timestamp}", *(f"v1={value}" for value in signatures)])


def test_signed_body_is_accepted() -> None:
    verify_signature(BODY, header(signature()), [SECRET], NOW)


@pytest.mark.parametrize(
    "secrets", [["whsec_new", SECRET], [SECRET, "whsec_new"]], ids=["old one last", "old one first"]
)
def test_any_of_several_secrets_will_do_while_they_rotate(secrets: list[str]) -> None:
    verify_signature(BODY, header(signature()), secrets, NOW)


def test_any_of_several_signatures_will_do() -> None:
    verify_signature(BODY, header("0" * 64, signature()) + ",v0=abc", [SECRET], NOW)


@pytest.mark.parametrize(
    ("body", "given_header", "secrets"),
    [
        (BODY, header(signature(secret="whsec_other")), [SECRET]),
        (BODY, header(signature()), []),
        (b'{"id":"evt_2"}', header(signature()), [SECRET]),
        (BODY, header(signature(timestamp=TIMESTAMP - 1)), [SECRET]),
        (BODY, header(signature()).replace("v1=", "v0="), [SECRET]),
        (BODY, header(), [SECRET]),
        (BODY, f"v1={signature()}", [SECRET]),
        (BODY, header(signature()).replace("t=", "x="), [SECRET]),
        (BODY, f"t={TIMESTAMP},{header(signature())}", [SECRET]),
        (BODY, header(signature()).replace("t=", "t=+"), [SECRET]),
        (BODY, header(signature()).replace("t=", "t=1_"), [SECRET]),
        (BODY, f"t={'9' * 400},v1={signature()}", [SECRET]),
        (BODY, header(*[signature()] * 50), [SECRET]),
        (BODY, header(signature()) + ",v1=é", [SECRET]),
        (BODY, "", [SECRET]),
    ],
    ids=itertools.count(),
)
def test_anything_else_is_refused(body: bytes, given_header: str, secrets: list[str]) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(body, given_header, secrets, NOW)


@pytest.mark.parametrize(("age_s", "accepted"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_timestamp_is_bounded_on_both_sides(age_s: int, accepted: bool) -> None:  # noqa: FBT001
    now = NOW.replace(microsecond=0) + timedelta(seconds=age_s)
    if accepted:
        verify_signature(BODY, header(signature()), [SECRET], now)
        return
    with pytest.raises(SignatureInvalid) as refusal:
        verify_signature(BODY, header(signature()), [SECRET], now)
    assert refusal.value.code == "signature_expired"


fragments = st.sampled_from(["t=", "v1=", ",", "=", str(TIMESTAMP), "٣", "\x00", "\ud800", " ", signature()])


@given(st.binary(), st.text() | st.lists(fragments).map("".join) | st.from_regex(re.compile(r"t=\d+,v1=\w*")))
@example(BODY, "t=٣,v1=00")
@example(b"\xff\x00", f"t={TIMESTAMP},v1=\ud800")
def test_garbage_raises_nothing_else(body: bytes, garbage: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(body + b"!", garbage, [SECRET], NOW)
