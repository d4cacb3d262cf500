"""The keys that sign access tokens: one that signs, and others that are accepted while keys are changed."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MIN_SECRET_BYTES = 32
_KID_BYTES = 8
_PEM = "-----BEGIN"


class Key(Protocol):
    """A key with its one algorithm; `header` is the first part of every token that it signs, and of no other."""

    @property
    def header(self) -> str:
        """The encoded header, which names algorithm and key."""
        ...

    def verify(self, signed: str, signature: str) -> bool:
        """Say whether the encoded signature is the one of that text."""
        ...


class SigningKey(Key, Protocol):
    """A key that signs, too."""

    def sign(self, signed: str) -> str:
        """Return the encoded signature of a text."""
        ...


class HmacKey:
    """HS256 (RFC 7518, section 3.2): one secret signs and verifies."""

    def __init__(self, secret: str) -> None:
        """Keep the secret. Errors: ValueError for one that is shorter than the hash, and for a key in PEM."""
        self._secret = secret.encode()
        if len(self._secret) < _MIN_SECRET_BYTES or secret.startswith(_PEM):
            raise ValueError(f"a secret for HS256 has at least {_MIN_SECRET_BYTES} bytes and is no key in PEM")
        self.header = _header("HS256", hmac.digest(self._secret, b"key id", "sha256"))

    def sign(self, signed: str) -> str:
        """Return the encoded signature of a text."""
        return encode(hmac.digest(self._secret, signed.encode(), "sha256"))

    def verify(self, signed: str, signature: str) -> bool:
        """Compare in constant time, and in the encoded form, of which there is only one."""
        return hmac.compare_digest(self.sign(signed).encode(), signature.encode())


class Ed25519VerifyingKey:
    """EdDSA (RFC 8037) with Ed25519: whoever has this public key can check tokens, and make none."""

    def __init__(self, public_pem: str) -> None:
        """Read the key. Errors: ValueError for anything but the PEM of an Ed25519 public key."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - megabytes that HS256 needs not
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - the same

        key = serialization.load_pem_public_key(public_pem.encode())
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise ValueError("EdDSA needs an Ed25519 public key in PEM")  # noqa: TRY004 - a wrong value of a setting
        self._key: Ed25519PublicKey = key
        self.header = _header("EdDSA", key.public_bytes_raw())

    def verify(self, signed: str, signature: str) -> bool:
        """Say whether the encoded signature is the one of that text."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above

        try:
            self._key.verify(decode(signature), signed.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class Ed25519SigningKey:
    """The private key, which signs; its public half verifies."""

    def __init__(self, private_pem: str) -> None:
        """Read the key. Errors: ValueError for anything but the PEM of an Ed25519 private key."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - megabytes that HS256 needs not
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - the same

        key = serialization.load_pem_private_key(private_pem.encode(), password=None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise ValueError("EdDSA needs an Ed25519 private key in PEM")  # noqa: TRY004 - a wrong value of a setting
        self._key: Ed25519PrivateKey = key
        pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        self._public = Ed25519VerifyingKey(key.public_key().public_bytes(pem, form).decode())
        self.header = self._public.header

    def sign(self, signed: str) -> str:
        """Return the encoded signature of a text."""
        return encode(self._key.sign(signed.encode()))

    def verify(self, signed: str, signature: str) -> bool:
        """Say whether the encoded signature is the one of that text."""
        return self._public.verify(signed, signature)


class KeyRing:
    """Signs with one key, and verifies with that one and the others that live beside it."""

    def __init__(self, signing: SigningKey, others: Sequence[Key] = ()) -> None:
        """Keep the keys."""
        self._signing = signing
        self._keys = {key.header: key for key in (*others, signing)}

    def sign(self, payload: bytes) -> str:
        """Return a compact JWS (RFC 7515, section 7.1)."""
        signed = f"{self._signing.header}.{encode(payload)}"
        return f"{signed}.{self._signing.sign(signed)}"

    def verify(self, token: str) -> bytes:
        """Return the payload of a token that one of our keys signed. Errors: ValueError for any other.

        The header is compared as a whole with what our keys write, and is never parsed: so nothing in it can
        choose an algorithm or a key.
        """
        header, payload, signature = token.split(".")
        key = self._keys.get(header)
        if key is None or not key.verify(f"{header}.{payload}", signature):
            raise ValueError("no key of ours signed this")
        return decode(payload)


def encode(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(encoded: str) -> bytes:
    """Return what was encoded. Errors: ValueError for a spelling that `encode` does not write."""
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("this is no base64url") from error
    if encode(raw) != encoded:
        raise ValueError("this is no base64url in its one form")
    return raw


def _header(algorithm: str, key: bytes) -> str:
    kid = hashlib.sha256(key).hexdigest()[: 2 * _KID_BYTES]
    header = {"alg": algorithm, "kid": kid, "typ": "JWT"}
    return encode(json.dumps(header, separators=(",", ":")).encode())
