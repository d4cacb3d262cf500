"""The embedded stack: PostgreSQL, Valkey, the Stripe sandbox and MarketFlow's processes, without Docker."""

from ops.stack.errors import StackError, StackRunningError
from ops.stack.info import Credentials, StackInfo
from ops.stack.stack import Stack

__all__ = ["Credentials", "Stack", "StackError", "StackInfo", "StackRunningError"]
