import base64
import json
import secrets

from pydantic import BaseModel, ConfigDict, ValidationError

from ops.stack.errors import StackError
from ops.stack.info import Credentials, dump, write_private
from ops.stack.layout import Layout

ROLES = ("buyer", "seller", "finance", "admin")


class Secrets(BaseModel):
    """What the embedded stack invents once and keeps in `var/secrets.json`."""

    model_config = ConfigDict(frozen=True)

    jwt_secret: str
    encryption_key: str
    stripe_api_key: str
    stripe_webhook_secret: str
    stripe_connect_webhook_secret: str = ""
    flower_password: str
    valkey_password: str
    users: dict[str, Credentials]


def load_secrets(layout: Layout) -> Secrets:
    """Return the secrets of this stack, invented at the first call; those that a newer version needs, later.

    Raises:
        StackError: the file is there but is not what was written.

    """
    invented = _invent()
    try:
        kept = json.loads(layout.secrets.read_bytes())
        known = Secrets.model_validate({**invented.model_dump(), **kept})
    except FileNotFoundError:
        kept, known = {}, invented
    except (OSError, TypeError, ValueError, ValidationError) as error:
        raise StackError(f"{layout.secrets} cannot be read: {error}") from error
    if Secrets.model_fields.keys() - kept.keys():
        write_private(layout.secrets, dump(known))
    return known


def _invent() -> Secrets:
    return Secrets(
        jwt_secret=secrets.token_urlsafe(48),
        encryption_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        stripe_api_key=f"sk_test_{secrets.token_hex(24)}",
        stripe_webhook_secret=f"whsec_{secrets.token_hex(24)}",
        stripe_connect_webhook_secret=f"whsec_{secrets.token_hex(24)}",
        flower_password=secrets.token_urlsafe(16),
        valkey_password=secrets.token_urlsafe(24),
        users={role: _user(role) for role in ROLES},
    )


def _user(role: str) -> Credentials:
    return Credentials(email=f"{role}@marketflow.example", password=secrets.token_urlsafe(16))
