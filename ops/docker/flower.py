"""Flower's configuration file: the password comes from where every secret comes from."""

from ops.settings import get_settings

basic_auth = [get_settings().flower_basic_auth.get_secret_value()]
