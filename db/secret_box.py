"""Secrets at rest: encrypted with a key that the database does not hold."""

import base64
import binascii
from collections.abc import Sequence

from domain.errors import Unavailable

_KEY_BYTES = 32


class FernetBox:
    """`domain.notifications.ports.SecretBox` with Fernet (AES-128-CBC and HMAC-SHA256, github.com/fernet/spec).

    The first key seals, all of them open: a new key is put first, and the old one is dropped once `marketflow
    secrets reseal` has sealed every secret anew.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep the keys, each 32 bytes in URL-safe base64. Errors: ValueError for another."""
        for key in keys:
            if not _is_key(key):
                raise ValueError("MARKETFLOW_ENCRYPTION_KEYS needs keys of 32 bytes in URL-safe base64")
        self._keys = tuple(keys)

    def seal(self, secret: str) -> str:
        """Return the secret encrypted. Errors: Unavailable `encryption_key_missing`."""
        # PERF: the library weighs megabytes in every API process; most never need it.
        from cryptography.fernet import Fernet  # noqa: PLC0415 - see above

        if not self._keys:
            raise _missing()
        return Fernet(self._keys[0]).encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the secret again. Errors: Unavailable `encryption_key_missing`."""
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415 - see above

        if not self._keys:
            raise _missing()
        try:
            return MultiFernet([Fernet(key) for key in self._keys]).decrypt(sealed).decode()
        except InvalidToken:
            raise _missing() from None

    def reseal(self, sealed: str) -> str:
        """Return it sealed with the first key, as it is if it is so already. Errors: as `open`."""
        newest = FernetBox(self._keys[:1])
        try:
            newest.open(sealed)
        except Unavailable:
            return self.seal(self.open(sealed))
        return sealed


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, altchars=b"-_", validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _missing() -> Unavailable:
    return Unavailable("the key of this secret is not among the settings", code="encryption_key_missing")
