"""What e-mail addresses and passwords must be, and how it is proven whose they are."""

import unicodedata
from dataclasses import dataclass, replace

from domain.errors import Invalid, Unauthenticated, Unavailable
from domain.identity.model import User
from domain.identity.ports import (
    AddressNormaliser,
    Attempt,
    BreachCheck,
    IdentityTransaction,
    LoginThrottle,
    PasswordHasher,
)
from domain.transactions import Begin

MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 256


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """What new credentials must be (NIST SP 800-63B, section 3.1.1): long, not known to attackers, and no more.

    `normalise` and `is_breached` come from outside, since the standard library knows neither.
    """

    hasher: PasswordHasher
    normalise: AddressNormaliser
    is_breached: BreachCheck
    min_password_chars: int = MIN_PASSWORD_CHARS

    async def hash(self, password: str, *, email: str) -> str:
        """Return the hash of a new password of the user with that normalised address.

        Errors: Invalid `password_too_short`, `password_too_long`, `password_guessable`; Unavailable `overloaded`.
        """
        plain = _canonical(password)
        if len(plain) < self.min_password_chars:
            least = self.min_password_chars
            raise Invalid(f"a password has at least {least} characters", code="password_too_short")
        if len(plain) > MAX_PASSWORD_CHARS:
            raise Invalid(f"a password has at most {MAX_PASSWORD_CHARS} characters", code="password_too_long")
        if plain.lower() in {email, email.partition("@")[0]} or self.is_breached(plain):
            raise Invalid("this password is among those that attackers try first", code="password_guessable")
        return await self.hasher.hash(plain)

    async def fits(self, user: User | None, password: str) -> bool:
        """Say whether this is the user's password; takes as long for nobody. Errors: Unavailable `overloaded`."""
        fits = await self.hasher.verify(user.password_hash if user else None, _canonical(password))
        return fits and user is not None

    async def renewed(self, user: User, password: str) -> str | None:
        """Return a hash as they are made today where the user's is not; `password` is known to fit it.

        What a new password must be does not matter here. Errors: Unavailable `overloaded`.
        """
        if not self.hasher.is_outdated(user.password_hash):
            return None
        return await self.hasher.hash(_canonical(password))


class Proof:
    """Proves by a password who somebody is, and lets nobody guess for long."""

    def __init__(self, begin: Begin[IdentityTransaction], rules: CredentialRules, throttle: LoginThrottle) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._rules = rules
        self._throttle = throttle

    async def of_user(self, email: str, password: str, *, address: str) -> User:
        """Return the user whose password this is; `address` is where the attempt comes from.

        An unknown address costs the same time as a wrong password. A hash that fits, and is not as they are made
        today, is replaced, so that stronger parameters reach whoever logs in. Errors: Unauthenticated
        `credentials_wrong`; RateLimited `login_throttled` after too many failures for the account or from the
        address, before anything is compared (strangers' failures count not where the account is at home, see
        LoginThrottle); Unavailable where failures cannot be counted: then nobody may guess.
        """
        known_as = self._known_as(email)
        attempt = Attempt(account=known_as or email, address=address)
        await self._throttle.take(attempt)
        try:
            user = await self._find(known_as)
            fits = await self._rules.fits(user, password)
        except Unavailable:
            # Nothing was compared, so nobody has failed.
            await self._throttle.give_back(attempt)
            raise
        if not fits or user is None:
            raise _wrong()
        await self._throttle.remember(attempt)
        return await self._renew(user, password)

    def _known_as(self, email: str) -> str | None:
        """Return the address as users are known by, or None where nobody can be known by it."""
        try:
            return self._rules.normalise(email)
        except Invalid:
            return None

    async def _find(self, email: str | None) -> User | None:
        if email is None:
            return None
        async with self._begin() as tx:
            return await tx.users.by_email(email)

    async def _renew(self, user: User, password: str) -> User:
        """Return the user with a hash of today, for a password that fits."""
        try:
            renewed = await self._rules.renewed(user, password)
        except Unavailable:
            # It fits nevertheless: the next login renews it.
            return user
        if renewed is None:
            return user
        async with self._begin() as tx:
            if await tx.users.renew_hash(user.id, old=user.password_hash, new=renewed):
                await tx.commit()
                return replace(user, password_hash=renewed)
            changed = await tx.users.by_id(user.id)
        # Renewed by a login of the same moment, or else another password: the user's own, to keep this one out.
        if changed is None or not await self._rules.fits(changed, password):
            raise _wrong()
        return changed


def _wrong() -> Unauthenticated:
    return Unauthenticated("e-mail address or password is wrong", code="credentials_wrong")


def _canonical(password: str) -> str:
    """Return one spelling of what keyboards compose in different ways (Unicode's NFC), and change nothing else."""
    return unicodedata.normalize("NFC", password)
