"""One spelling for an address, and no password that attackers try first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.credentials import credential_rules, is_breached, normalise_address
from domain.errors import Invalid

SPELLINGS = {
    "ann@example.com": [
        "Ann@Example.COM",
        " ann@example.com\n",
        "".join(chr(ord(char) + 0xFEE0) for char in "ann@example.com"),  # in full width
        "ann@example.com",
    ],
    "é@xn--bcher-kva.de": ["é@bücher.de", "É@BÜCHER.DE", "e\u0301@bu\u0308cher.de", "é@xn--bcher-kva.de"],
    "a@xn--strae-oqa.de": ["a@straße.de"],
    "fi+shop@x.test": ["ﬁ+SHOP@x.test"],
    "a@shop.local": ["A@Shop.Local"],
}


@pytest.mark.parametrize(
    ("known_as", "written"), [(known, written) for known, all_ in SPELLINGS.items() for written in all_]
)
def test_address_has_one_spelling(known_as: str, written: str) -> None:
    assert normalise_address(written) == known_as


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ann",
        "ann@",
        "@example.com",
        "a@b@example.com",
        "a..b@example.com",
        "a b@example.com",
        "ann@-example.com",
        "ann@example.com.",
        "Ann <ann@example.com>",
        "ann@[127.0.0.1]",
        "a@" + "x" * 64 + ".com",
        "a@" + "x." * 130 + "com",
        "a\x00b@example.com",
        "\ud800@example.com",
        "a\u202eb@example.com",
    ],
)
def test_what_no_mail_has_is_no_address(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        normalise_address(text)

    assert refusal.value.code == "email_invalid"


@given(st.text(min_size=1, max_size=20), st.sampled_from(["example.com", "bücher.de", "ΑΣ.gr", "x.test"]))
def test_normalised_address_stays_as_it_is(local: str, domain: str) -> None:
    try:
        known_as = normalise_address(f"{local}@{domain}")
    except Invalid:
        return

    assert normalise_address(known_as) == known_as == known_as.lower()
    assert normalise_address(known_as.upper()) == normalise_address(known_as.upper().lower())


@pytest.mark.parametrize("password", ["password", "PASSWORD", "12345678", "qwerty123", "Trustno1", "q1w2e3r4t5"])
def test_password_of_known_breaches_is_noticed(password: str) -> None:
    assert is_breached(password)


@pytest.mark.parametrize("password", ["", "pass\nword", "password\npassword1", "correct horse", "passwor"])
def test_other_passwords_and_pieces_of_the_list_are_not(password: str) -> None:
    assert not is_breached(password)


async def test_rules_hold_together() -> None:
    rules = credential_rules(min_password_chars=12)

    with pytest.raises(Invalid, match="at least 12"):
        await rules.hash("battery pie", email="ann@example.com")
    with pytest.raises(Invalid, match="attackers"):
        await rules.hash("1234567890qwerty", email="ann@example.com")
    assert (await rules.hash("battery staple", email="ann@example.com")).startswith("$argon2id$")
