"""What can happen by itself, by the names under which it is scheduled."""

from collections.abc import Callable

from ops.stripe_sandbox.captures import expire_authorization
from ops.stripe_sandbox.charging import book_late
from ops.stripe_sandbox.resources import disputes, payouts, refunds
from ops.stripe_sandbox.sandbox import Sandbox

_ACTIONS: dict[str, Callable[[Sandbox, str], None]] = {
    "arrive": payouts.arrive,
    "book_late": book_late,
    "end_response_time": disputes.end_response_time,
    "expire_authorization": expire_authorization,
    "open_dispute": disputes.dispute_by_card,
    "pay_all_out": payouts.pay_all_out,
    "refund_failed": refunds.fail_late,
    "refund_succeeded": refunds.succeed_late,
}


def act(sandbox: Sandbox) -> None:
    """Do all that is due by the sandbox's clock, and what becomes due by that."""
    while (timer := sandbox.timers.take_due(sandbox.now())) is not None:
        _ACTIONS[timer.action](sandbox, timer.subject)
