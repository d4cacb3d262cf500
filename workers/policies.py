"""What the settings say of each part of the domain that the workers run."""

from domain.notifications.model import DeliveryPolicy
from domain.payouts.run import RunPolicy
from domain.payouts.service import PayoutPolicy
from domain.reconciliation.service import ReconciliationPolicy
from domain.settlement.model import SettlementPolicy
from ops.settings import Settings
from workers.stripe_accounts import OnboardingTerms


def onboarding_terms(settings: Settings) -> OnboardingTerms:
    """Return what Stripe is told of new sellers."""
    return OnboardingTerms(
        settings.seller_country, settings.onboarding_refresh_url, settings.onboarding_return_url
    )


def reconciliation_policy(settings: Settings) -> ReconciliationPolicy:
    """Return the settings of reconciling."""
    return ReconciliationPolicy(
        grace_s=settings.reconcile_grace_s,
        nightly_after_s=settings.reconcile_after_s,
        lease_s=settings.lease_s,
    )


def payout_policy(settings: Settings) -> PayoutPolicy:
    """Return the settings of payouts."""
    return PayoutPolicy(
        settings.direct_hold_s,
        settings.republish_after_s,
        settings.payout_least_minor,
        is_paused=settings.payouts_paused,
    )


def run_policy(settings: Settings) -> RunPolicy:
    """Return the settings of scheduled payout runs; a lease outlives the task under it."""
    return RunPolicy(settings.payout_interval_s, settings.lease_s, settings.lease_s / 2)


def settlement_policy(settings: Settings) -> SettlementPolicy:
    """Return the settings of charging and settling; a lease outlives the calls under it."""
    return SettlementPolicy(
        seller_bears_stripe_fee=settings.seller_bears_stripe_fee,
        stripe_key_lifetime_s=settings.stripe_key_lifetime_s,
        lookup_grace_s=settings.lookup_grace_s,
        action_ttl_s=settings.action_ttl_s,
        retry_base_s=settings.retry_base_s,
        retry_cap_s=settings.retry_cap_s,
        lease_s=settings.lease_s,
        republish_after_s=settings.republish_after_s,
    )


def delivery_policy(settings: Settings) -> DeliveryPolicy:
    """Return the settings of delivering; a lease outlives the request under it and its conclusion."""
    return DeliveryPolicy(
        schedule_s=settings.webhook_schedule,
        slots=settings.webhook_slots,
        per_endpoint=settings.webhook_endpoint_slots,
        lease_s=settings.webhook_timeout_s + 3 * settings.database_statement_timeout_s,
        rest_cap_s=settings.webhook_rest_cap_s,
        disable_after_s=settings.webhook_disable_after_s,
    )
