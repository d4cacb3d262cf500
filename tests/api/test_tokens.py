"""Who calls is proven by a token of ours, on every operation that is not public."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from api.identity.signing import Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, KeyRing
from api.identity.tokens import TokenCodec, key_ring
from domain.clock import SystemClock
from domain.errors import Unauthenticated
from domain.identity.model import Role
from domain.ids import SessionId, uuid7
from ops.settings import Settings
from tests.api.conftest import JWT_SECRET
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import a_user
from tests.domain.fakes import FakeClock

PRIVATE = [call for call in CALLS if not call.operation.public]
CLAIMS = ("exp", "iat", "sub", "sid", "aud", "iss", "jti", "role")
OTHER_SECRET = "another secret, long enough for HS256 too"


def private_pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS = {
    "HS256": HmacKey(JWT_SECRET),
    "EdDSA": Ed25519SigningKey(private_pem(ED25519)),
}


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def header_of(key: Any) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(key.header + "=="))
    return header


KID = header_of(KEYS["HS256"])["kid"]


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": "marketflow",
        "aud": "marketflow-api",
        "sub": str(uuid4()),
        "sid": str(uuid7()),
        "role": "buyer",
        "iat": now,
        "exp": now + 900,
        "jti": uuid4().hex,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(secret: str = JWT_SECRET, algorithm: str = "HS256", kid: Any = KID, **changes: Any) -> str:
    """A token as another library makes it."""
    payload = json.dumps(claims(**changes)).encode()
    return jwt.api_jws.encode(payload, secret, algorithm, headers={"typ": "JWT", "kid": kid}, sort_headers=True)


def with_header(**changes: Any) -> str:
    """A token with a changed header, signed all the same by the right key."""
    header = {"alg": "HS256", "kid": KID, "typ": "JWT"} | changes
    text = f"{part({name: value for name, value in header.items() if value is not None})}.{part(claims())}"
    return f"{text}.{KEYS['HS256'].sign(text)}"


async def call_with(api: httpx.AsyncClient, authorization: str) -> httpx.Response:
    return await api.get("/v1/orders", headers={"Authorization": authorization.encode("latin-1")})


@pytest.mark.parametrize("call", PRIVATE, ids=str)
async def test_private_operation_needs_a_token(api: httpx.AsyncClient, call: Call) -> None:
    answer = await api.request(call.method, call.path, json=call.body, headers=call.headers)

    assert_problem(answer, 401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", "Bearer", "Token x", "bearer\t"])
async def test_other_schemes_are_no_token(api: httpx.AsyncClient, authorization: str) -> None:
    assert_problem(await call_with(api, authorization), 401, "token_missing")


async def test_good_token_is_accepted_again_and_again(api: httpx.AsyncClient) -> None:
    token = signed()

    assert [(await call_with(api, f"bearer {token}")).status_code for _ in range(2)] == [200, 200]


BAD_TOKENS = {
    "expired": lambda: signed(exp=int(time.time()) - 1),
    "of the future": lambda: signed(iat=int(time.time()) + 900),
    "wrong secret": lambda: signed(OTHER_SECRET),
    "algorithm none": lambda: jwt.encode(claims(), None, algorithm="none", headers={"kid": KID}),
    "algorithm none, signed": lambda: with_header(alg="none"),
    "other algorithm": lambda: signed(JWT_SECRET * 2, "HS512"),
    "other algorithm in the header alone": lambda: with_header(alg="HS384"),
    "algorithm in small letters": lambda: with_header(alg="hs256"),
    "public key as the secret": lambda: signed(public_pem(ED25519).replace("-", "_")),
    "without key id": lambda: with_header(kid=None),
    "key id of another key": lambda: signed(OTHER_SECRET, kid=header_of(HmacKey(OTHER_SECRET))["kid"]),
    "key id that is a path": lambda: with_header(kid="../../../dev/null"),
    "key id that is SQL": lambda: with_header(kid="' UNION SELECT 'x"),
    "key id that is no text": lambda: with_header(kid=[KID]),
    "key in the header": lambda: with_header(jwk={"kty": "oct", "k": part("x")}),
    "key at an address": lambda: with_header(jku="https://example.com/keys"),
    "critical extension": lambda: with_header(crit=["exp"]),
    "unencoded payload": lambda: with_header(b64=False),
    "wrong audience": lambda: signed(aud="another-api"),
    "audiences": lambda: signed(aud=["marketflow-api"]),
    "wrong issuer": lambda: signed(iss="somebody"),
    "role of nobody": lambda: signed(role="owner"),
    "subject that is no id": lambda: signed(sub="ann"),
    "subject that is no text": lambda: signed(sub=7),
    "session that is no id": lambda: signed(sid="1"),
    "expiry that is no time": lambda: signed(exp="tomorrow"),
    "expiry beyond all times": lambda: signed(exp=10**18),
    "expiry that is no integer": lambda: signed(exp=time.time() + 900),
    "claim that nobody knows": lambda: signed(admin=True),
    "too long": lambda: signed(more="x" * 5_000),
    "payload that is no object": lambda: KeyRing(KEYS["HS256"]).sign(b"[]"),
    "payload that is no JSON": lambda: KeyRing(KEYS["HS256"]).sign(b"\xff"),
    "garbage": lambda: "a.b.c",
    "empty parts": lambda: "..",
    "four parts": lambda: f"{signed()}.x",
    "not ASCII": lambda: "\xff.\xff.\xff",
    "signature not ASCII": lambda: signed()[:-1] + "\xff",
    "cut off": lambda: signed()[:-4],
    "padded": lambda: f"{signed()}=",
    "spaced": lambda: signed().replace(".", ". "),
    **{f"without {name}": lambda name=name: signed(**{name: None}) for name in CLAIMS},
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_bad_token_is_refused(api: httpx.AsyncClient, make: Callable[[], str]) -> None:
    assert_problem(await call_with(api, f"Bearer {make()}"), 401, "token_invalid")


def codec(keys: KeyRing, clock: FakeClock | None = None) -> TokenCodec:
    return TokenCodec(keys, clock or SystemClock(), ttl_s=900)


def issue(codec: TokenCodec) -> str:
    return codec.issue(a_user(Role.SELLER), SessionId(uuid7()))


@pytest.mark.parametrize("algorithm", KEYS)
def test_token_says_whose_it_is_to_any_library(algorithm: str) -> None:
    user, session_id = a_user(Role.SELLER), SessionId(uuid7())
    token = codec(KeyRing(KEYS[algorithm])).issue(user, session_id)
    key = JWT_SECRET if algorithm == "HS256" else public_pem(ED25519)

    read = jwt.decode(
        token, key, [algorithm], audience="marketflow-api", issuer="marketflow", options={"require": [*CLAIMS]}
    )

    assert (read["sub"], read["sid"], read["role"]) == (str(user.id), str(session_id), "seller")
    assert read["exp"] == read["iat"] + 900
    assert jwt.get_unverified_header(token)["kid"] == header_of(KEYS[algorithm])["kid"]
    principal, _ = codec(KeyRing(KEYS[algorithm])).read(token)
    assert (principal.user_id, principal.session_id, principal.role) == (user.id, session_id, Role.SELLER)


@pytest.mark.parametrize("algorithm", KEYS)
@given(data=st.data())
def test_token_with_any_other_character_is_refused(algorithm: str, data: st.DataObject) -> None:
    keys = codec(KeyRing(KEYS[algorithm]))
    token = issue(keys)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.= \n\u00e9").filter(lambda char: char != token[at]))
    inserted = data.draw(st.booleans())

    with pytest.raises(Unauthenticated):
        keys.read(token[:at] + other + token[at + (not inserted) :])


def test_signature_has_one_spelling() -> None:
    """The last character bears bits that decode to nothing; with other ones it would be another good token."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for key in KEYS.values():
        keys = codec(KeyRing(key))
        token = issue(keys)
        for other in set(alphabet) - {token[-1]}:
            with pytest.raises(Unauthenticated):
                keys.read(token[:-1] + other)


def test_keys_are_changed_while_tokens_of_both_live() -> None:
    old, new = HmacKey(JWT_SECRET), Ed25519SigningKey(private_pem(ED25519))
    before = codec(KeyRing(old, [Ed25519VerifyingKey(public_pem(ED25519))]))
    after = codec(KeyRing(new, [old]))
    at_last = codec(KeyRing(new))

    for reader in (before, after):
        assert reader.read(issue(before))
        assert reader.read(issue(after))
    with pytest.raises(Unauthenticated):
        at_last.read(issue(before))


def test_token_lasts_until_it_expires_and_clocks_may_differ_a_little(clock: FakeClock) -> None:
    keys = codec(KeyRing(KEYS["HS256"]), clock)
    token = issue(keys)

    clock.advance(-59)
    assert keys.read(token)[1] - clock.now() <= timedelta(seconds=960)
    clock.advance(59 + 898)
    keys.read(token)
    clock.advance(3)
    with pytest.raises(Unauthenticated):
        keys.read(token)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ring(**settings: Any) -> KeyRing:
    return key_ring(Settings(**settings))


def test_settings_choose_the_keys() -> None:
    hmac_alone = ring(jwt_secret=JWT_SECRET)
    changing = ring(jwt_secret=OTHER_SECRET, jwt_other_secret=JWT_SECRET)
    signing = {"jwt_algorithm": "EdDSA", "jwt_private_key": private_pem(ED25519)}
    eddsa = ring(**signing, jwt_secret=JWT_SECRET)
    verifying = ring(jwt_secret=OTHER_SECRET, jwt_other_public_key=public_pem(ED25519))

    assert codec(changing).read(issue(codec(hmac_alone)))
    assert codec(verifying).read(issue(codec(eddsa)))
    for stranger in (codec(eddsa), codec(verifying)):
        with pytest.raises(Unauthenticated):
            stranger.read(issue(codec(hmac_alone)))


RSA = rsa.generate_private_key(65_537, 2_048)


@pytest.mark.parametrize(
    ("wrong", "settings"),
    [
        ("jwt_secret", {}),
        ("jwt_secret", {"jwt_secret": "x" * 31}),
        ("jwt_secret", {"jwt_secret": public_pem(ED25519)}),
        ("jwt_other_secret", {"jwt_secret": JWT_SECRET, "jwt_other_secret": "short"}),
        ("jwt_other_public_key", {"jwt_secret": JWT_SECRET, "jwt_other_public_key": public_pem(RSA)}),
        ("jwt_other_public_key", {"jwt_secret": JWT_SECRET, "jwt_other_public_key": "no key"}),
        ("jwt_private_key", {"jwt_algorithm": "EdDSA", "jwt_secret": JWT_SECRET}),
        ("jwt_private_key", {"jwt_algorithm": "EdDSA", "jwt_private_key": private_pem(RSA)}),
        ("jwt_private_key", {"jwt_algorithm": "EdDSA", "jwt_private_key": public_pem(ED25519)}),
    ],
)
def test_key_that_is_missing_weak_or_of_another_kind_is_refused(wrong: str, settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"MARKETFLOW_{wrong.upper()}: "):
        ring(**settings)


def with_mac(header: Mapping[str, Any], secret: bytes, digest: str) -> str:
    """A token with that header, whose signature is a MAC by that secret."""
    text = f"{part(header)}.{part(claims())}"
    mac = base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), digest))
    return f"{text}.{mac.decode().rstrip('=')}"


@pytest.mark.parametrize(
    "public",
    [
        public_pem(ED25519).encode(),
        public_pem(ED25519).strip().encode(),
        ED25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        ED25519.public_key().public_bytes_raw(),
    ],
    ids=["PEM", "PEM without its last line feed", "DER", "raw"],
)
@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [("EdDSA", "sha256"), ("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")],
)
def test_public_key_is_no_secret(algorithm: str, digest: str, public: bytes) -> None:
    """The confusion of algorithms: what everybody may know signs nothing that an EdDSA key would accept."""
    header = {"alg": algorithm, "kid": header_of(KEYS["EdDSA"])["kid"], "typ": "JWT"}

    with pytest.raises(Unauthenticated):
        codec(KeyRing(KEYS["EdDSA"])).read(with_mac(header, public, digest))


@pytest.mark.parametrize("kid", ["/dev/null", "../../../../../../../dev/null", "' UNION SELECT '", "", None])
@pytest.mark.parametrize("secret", [b"", b"\x00"], ids=["empty", "NUL"])
def test_key_id_leads_to_no_other_secret(kid: str | None, secret: bytes) -> None:
    """Whoever takes it for a file or puts it into a statement is made to verify with what is there: nothing."""
    header = {"alg": "HS256", "kid": kid, "typ": "JWT"}

    with pytest.raises(Unauthenticated):
        codec(KeyRing(KEYS["HS256"])).read(with_mac(header, secret, "sha256"))
