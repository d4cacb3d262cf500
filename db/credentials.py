"""What the rules for credentials need of the world: how addresses are written, which passwords leaked."""

import gzip
import unicodedata
from functools import lru_cache
from importlib import resources

import email_validator

from db.passwords import Argon2Hasher
from domain.errors import Invalid
from domain.identity.credentials import CredentialRules

# The library refuses domains that no mail can reach, such as `.test` and `.local`. Here an address is a name to
# log in with, and a deployment that nobody else reaches may well use one.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def credential_rules(*, min_password_chars: int) -> CredentialRules:
    """Put the rules together; the hasher has threads of its own."""
    return CredentialRules(Argon2Hasher(), normalise_address, is_breached, min_password_chars)


def normalise_address(email: str) -> str:
    """Return the one spelling of an e-mail address under which a user is known.

    Compatible characters are one (Unicode's NFKC), case is ignored, and the domain is written as the domain name
    system knows it (IDNA 2008). Nothing is asked of any server. Errors: Invalid `email_invalid`.
    """
    plain = unicodedata.normalize("NFKC", email).strip()
    try:
        found = email_validator.validate_email(plain, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError:
        raise Invalid("this is no e-mail address", code="email_invalid") from None
    return f"{found.local_part.lower()}@{found.ascii_domain.lower()}"


def is_breached(password: str) -> bool:
    """Say whether a password, in any case, is among the common ones of known breaches."""
    return "\n" not in password and f"\n{password.lower()}\n" in _breached()


@lru_cache
def _breached() -> str:
    # PERF: one text of 100 kB that is searched in some microseconds, where a set of its lines would take 1 MB.
    packed = resources.files("db").joinpath("common_passwords.txt.gz").read_bytes()
    return "\n" + gzip.decompress(packed).decode()
