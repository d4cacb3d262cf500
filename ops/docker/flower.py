"""Flower's configuration file: the password comes from where every secret comes from."""

from ops.settings import get_settings

_user, _, _password = get_settings().flower_basic_auth.get_secret_value().partition(":")
if not _user or not _password:
    # Flower takes an empty one for a password, which everybody has: `Authorization: Basic =` stops workers.
    raise ValueError("MARKETFLOW_FLOWER_BASIC_AUTH must be a user and a password, like marketflow:secret")
basic_auth = [f"{_user}:{_password}"]
