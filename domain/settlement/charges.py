"""Charging: lease the payments that are due, ask Stripe about each, settle what it answers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.following import FollowStep, follow_nobody
from domain.ids import PaymentId
from domain.payments.model import Payment
from domain.settlement.answers import Answer, Intent, IntentStatus, Withdrawn
from domain.settlement.gateways import ChargeGateway
from domain.settlement.look_ups import LookUp, look_ups
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.settlement.steps import Step, next_step
from domain.settlement.together import all_of
from domain.transactions import Begin


class ChargeService:
    """The work of the queue `charges`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: ChargeGateway,
        settle: Coalescer[Outcome, bool],
        clock: Clock,
        policy: SettlementPolicy,
        *,
        follow: FollowStep[Payment] = follow_nobody,
    ) -> None:
        """Keep the collaborators; `settle` gathers the outcomes of all batches of this process."""
        self._begin = begin
        self._follow = follow
        self._gateway = gateway
        self._settle = settle
        self._clock = clock
        self._policy = policy

    async def process(self, payment_ids: Sequence[PaymentId]) -> int:
        """Bring each payment one step forward; return how many were leased.

        Payments that are not due or that somebody else holds are left alone, so a repeated message does nothing. A
        payment whose step does not end within its lease becomes due again.
        """
        leased = await self._lease(payment_ids)
        if not leased:
            return 0
        now = self._clock.now()
        steps = {payment.id: next_step(payment, now, self._policy) for payment in leased}
        to_find = [payment for payment in leased if steps[payment.id] is Step.LOOK_UP]
        found = [self._look_up(each) for each in look_ups(to_find, self._policy)]
        advanced = [self._advance(p, steps[p.id]) for p in leased if steps[p.id] is not Step.LOOK_UP]
        await all_of([*found, *advanced])
        return len(leased)

    async def _lease(self, payment_ids: Sequence[PaymentId]) -> Sequence[Payment]:
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.payment_work.lease(
                sorted(payment_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        return leased

    async def _advance(self, payment: Payment, step: Step) -> None:
        with self._follow(payment, str(step)):
            await self._conclude(payment.id, await self._ask(payment, step))

    async def _ask(self, payment: Payment, step: Step) -> Answer:
        if step is Step.CHARGE:
            return await self._gateway.charge(payment)
        if step is Step.WITHDRAW:
            return Withdrawn()
        intent_id = payment.stripe_intent_id
        assert intent_id is not None  # noqa: S101 - `next_step` takes the other steps with a known intent alone
        match step:
            case Step.CAPTURE:
                return await self._gateway.capture(intent_id, payment.capture_minor)
            case Step.CANCEL:
                return await self._gateway.cancel(intent_id)
            case _:
                return await self._gateway.retrieve(intent_id)

    async def _look_up(self, look_up: LookUp) -> None:
        found = await self._gateway.find(look_up)
        await all_of(self._conclude(payment_id, answer) for payment_id, answer in found.items())

    async def _conclude(self, payment_id: PaymentId, answer: Answer) -> None:
        await self._settle.submit(Outcome(payment_id, await cancel_declined(self._gateway, answer)))


PAYABLE = frozenset({IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.REQUIRES_CONFIRMATION})
"""Declined, or created but not confirmed: it goes no further by itself, and can still be paid."""


async def cancel_declined(gateway: ChargeGateway, answer: Answer) -> Answer:
    """Cancel a declined intent before its payment is called failed; return any other answer as it is.

    Whoever holds the client secret of a declined intent can still pay it. `answer` must be its state of this
    moment: if it has been authorized since, Stripe cancels it all the same
    (docs.stripe.com/api/payment_intents/cancel). If it has been paid meanwhile, Stripe refuses, and the paid
    intent is returned. If Stripe does not answer, the decline is returned and the intent is cancelled later.
    """
    if not (isinstance(answer, Intent) and answer.status in PAYABLE):
        return answer
    end = await gateway.cancel(answer.intent_id)
    if not isinstance(end, Intent):
        return answer
    return replace(end, failure_code=answer.failure_code) if end.status is IntentStatus.CANCELED else end
