"""Every setting of MarketFlow, read once from environment variables `MARKETFLOW_*`."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from domain.identity.credentials import MIN_PASSWORD_CHARS


def _as_libpq_reads(url: str) -> str:
    """Return a URL without the driver, which SQLAlchemy's form names. ValueError where libpq stumbles."""
    if re.match("postgres.*://", url) and re.search("%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("a percent sign that is meant, as in a password, is written %25")
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


Port = Annotated[int, Field(ge=1, le=65_535)]


class Settings(BaseSettings):
    """The whole configuration; each field is the variable `MARKETFLOW_<FIELD>`.

    What is no variable may be a file of that name, in small letters, in the directory `MARKETFLOW_SECRETS_DIR`,
    where container platforms mount secrets.

    A URL that is given replaces the embedded server of that kind. Money is in minor units, times are in
    seconds unless the name says otherwise.
    """

    # What is refused may be an address with its password, and who starts a process logs why it ends.
    model_config = SettingsConfigDict(
        env_prefix="MARKETFLOW_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # Where the parts live. The embedded stack fills in what is missing.
    database_url: Annotated[str, AfterValidator(_as_libpq_reads)] = Field(
        default="", pattern=r"^((postgres|postgresql|postgresql\+psycopg)://.+)?$"
    )
    migration_database_url: Annotated[str, AfterValidator(_as_libpq_reads)] = ""
    backup_database_url: SecretStr = SecretStr("")
    """A role that may copy the whole cluster, for `marketflow backup` and `archive` alone."""
    redis_url: str = Field(default="", pattern="^((redis|rediss|unix)://.+)?$")
    broker_url: str = Field(default="", pattern=r"^((redis|rediss|redis\+socket|amqp|amqps|pyamqp)://.+)?$")
    stripe_api_base: str = Field(default="", pattern="^(https?://.+)?$")
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    flower_port: Port = 5555
    stripe_port: Port = 12111
    redis_port: Port = 6379
    var_dir: Path = Path("var")
    log_format: str = Field(default="json", pattern="^(json|console)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    otlp_endpoint: str = Field(default="", pattern="^(https?://.+)?$")
    """The OTLP collector for spans, over HTTP, like http://collector:4318; without it nothing is traced."""
    trace_sample_ratio: float = Field(default=0.05, ge=0, le=1)
    """Of the traces that begin here so many are kept; a caller's `traceparent` decides about its own."""

    # Secrets. None has a default. Without a key for tokens the API does not start; without another one, what needs
    # it is refused, or waits.
    jwt_secret: SecretStr = SecretStr("")
    """Signs access tokens with HS256; at least 32 bytes."""
    jwt_private_key: SecretStr = SecretStr("")
    """Signs them with EdDSA: an Ed25519 private key in PEM."""
    jwt_other_secret: SecretStr = SecretStr("")
    """Accepted beside the key that signs: the next one before a change of keys, the last one after it."""
    jwt_other_public_key: str = ""
    """The same for EdDSA: an Ed25519 public key in PEM."""
    stripe_api_key: SecretStr = SecretStr("")
    stripe_webhook_secrets: Annotated[SecretStr, NoDecode] = SecretStr("")
    """Comma-separated: account events, Connect events, and the old ones while rotating."""
    flower_basic_auth: SecretStr = SecretStr("")
    encryption_keys: SecretStr = SecretStr("")
    """Comma-separated Fernet keys (32 bytes, URL-safe base64) for the secrets in the database. The first one
    encrypts; older ones read what `marketflow secrets reseal` has not reached."""

    # Processes.
    api_workers: int = Field(default=2, ge=1)
    worker_processes: int = Field(default=2, ge=1)
    worker_threads: int = Field(default=16, ge=1)
    database_pool_size: int = Field(default=8, ge=1)
    database_statement_timeout_s: float = Field(default=5.0, gt=0)
    redis_pool_size: int = Field(default=32, ge=1)
    """How many connections to Redis a process holds at most."""
    redis_timeout_s: float = Field(default=0.5, gt=0)
    broker_timeout_s: float = Field(default=1.0, gt=0)
    prometheus_dir: Path | None = None
    worker_metrics_port: int = Field(default=0, ge=0, le=65_000)
    """Where the first worker process of a host shows its metrics, the next one a port above; 0 is nowhere."""

    # Identity and limits.
    jwt_algorithm: Literal["HS256", "EdDSA"] = "HS256"
    access_token_ttl_s: int = Field(default=900, ge=60)
    refresh_token_ttl_s: int = Field(default=14 * 86_400, ge=60)
    """How long a session lasts without being refreshed."""
    session_ttl_s: int = Field(default=30 * 86_400, ge=60)
    """How long a session lasts at most, however often it is refreshed."""
    refresh_grace_s: float = Field(default=10.0, ge=0)
    """How long a refresh may be repeated whose answer was lost; later the token's second use ends the session."""
    revocation_poll_s: float = Field(default=2.0, gt=0)
    """How long a process may still accept an access token or an API key after it was revoked by another one."""
    min_password_chars: int = Field(default=MIN_PASSWORD_CHARS, ge=MIN_PASSWORD_CHARS, le=64)
    login_failures_per_account: int = Field(default=10, ge=1)
    login_failures_per_address: int = Field(default=100, ge=1)
    login_failure_window_s: float = Field(default=900.0, gt=0)
    """The time in which an account and an address may fail so often to log in."""
    trusted_proxies: int = Field(default=0, ge=0)
    """How many proxies of ours stand before the API: so many last addresses of X-Forwarded-For are believed."""
    rate_limit_per_minute: int = Field(default=1000, ge=1)
    rate_limit_burst: int = Field(default=200, ge=1)
    address_limit_per_minute: int = Field(default=300, ge=1)
    max_body_bytes: int = Field(default=65_536, ge=1024)
    streams_per_user: int = Field(default=20, ge=1)
    streams_per_process: int = Field(default=2000, ge=1)
    """How many clients may follow events at once; one more is asked to come back."""
    stream_heartbeat_s: float = Field(default=15.0, gt=0)
    """How long a stream may be silent, before a sign of life tells proxies and clients that it is open."""

    # Money.
    commission_bps: int = Field(default=250, ge=0, le=10_000)
    max_amount_minor: int = Field(default=99_999_999, ge=1)
    seller_bears_stripe_fee: bool = True
    direct_hold_s: float = Field(default=7 * 24 * 3600, ge=0)
    """How long a direct payment's money is held, and its payer may take it back; an order's until it ships."""

    payout_interval_s: float = Field(default=24 * 3600, gt=0)
    """How often sellers are paid out by themselves, counted from midnight (UTC) where it divides a day."""
    payouts_paused: bool = False
    """Whether sellers are paid nothing out: after a restore, until it is known what they were paid already."""
    payout_least_minor: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """The least that is paid out by currency, as JSON: `{"USD": 1000}`; 1 where none is named."""

    product_cache_ttl_s: float = Field(default=30, gt=0, le=3600)
    """How old a product may be that a buyer reads; checkout reads PostgreSQL alone."""

    # Carts and orders.
    cart_ttl_s: int = Field(default=30 * 24 * 3600, ge=1)
    """How long after its last change a cart is forgotten."""
    order_ttl_s: int = Field(default=3600, ge=1, le=365 * 24 * 3600)
    """How long an order holds its stock unpaid before it expires; never while a payment of it is alive."""
    order_completes_after_s: int = Field(default=14 * 24 * 3600, ge=1, le=365 * 24 * 3600)
    """How long after shipping an order completes by itself, when its buyer says nothing."""

    # Stripe.
    stripe_timeout_s: float = Field(default=10.0, gt=0)
    stripe_rate_per_second: int = Field(default=100, ge=0)
    """How many calls all workers together make; 0 is without limit. Stripe allows 100 live and 25 in test mode."""
    stripe_wait_s: float = Field(default=1.0, gt=0, le=10)
    """How long a new charge waits for its turn before it is put back into its row; all else twice as long."""
    breaker_failures: int = Field(default=5, ge=1, le=1000)
    breaker_window_s: float = Field(default=60.0, gt=0)
    """So many failures of Stripe within so long keep all workers from calling it."""
    breaker_open_s: float = Field(default=30.0, gt=0)
    """For how long, until one call may try."""
    stripe_key_lifetime_s: int = Field(default=23 * 3600, ge=60)
    """How long a Stripe idempotency key may be used again; Stripe may forget it after 24 h."""
    lookup_grace_s: float = Field(default=120.0, ge=0)
    """How long an intent may be absent from Stripe's list before its payment is given up."""
    stripe_events_kept_s: int = Field(default=90 * 86_400, ge=4 * 86_400)
    """How long handled webhooks are kept: longer than the three days for which Stripe repeats them."""
    action_ttl_s: int = Field(default=3600, ge=1)
    """How long a customer may take for 3-D Secure before the intent is cancelled."""

    seller_country: str = Field(default="US", pattern="^[A-Z]{2}$")
    """Where new sellers are at home (ISO 3166-1): Stripe opens their accounts there."""
    onboarding_return_url: str = Field(default="https://example.com/selling", pattern="^https?://[^ ]+$")
    """The page of the shop to which Stripe sends a seller who answered its questions."""
    onboarding_refresh_url: str = Field(default="https://example.com/selling?again", pattern="^https?://[^ ]+$")
    """The same for a link that is used up or has expired: a page that asks for another one."""

    # Webhooks to clients.
    webhooks_allow_private_targets: bool = False
    """For development alone: targets in our own network, and without TLS."""
    webhook_timeout_s: float = Field(default=15.0, gt=0, le=60)
    webhook_schedule_s: str = Field(
        default="0,5,300,1800,7200,18000,36000,50400,72000,86400", pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?){0,99}$"
    )
    """The wait before each attempt."""
    webhook_slots: int = Field(default=128, ge=2, le=10_000)
    """Requests of one process at once; the endpoints of one owner share a quarter."""
    webhook_endpoint_slots: int = Field(default=8, ge=1, le=1_000)
    """Requests to one endpoint at once, of all processes."""
    webhook_rest_cap_s: float = Field(default=60.0, gt=0)
    """How long an endpoint that fails is left alone, at most, unless it asks for longer."""
    webhook_disable_after_s: float = Field(default=5 * 86_400, gt=0)
    """For how long an endpoint may fail without a success before it is disabled."""

    webhook_deliveries_kept_s: int = Field(default=30 * 86_400, ge=7 * 86_400)
    """How long deliveries and their logs are kept: longer than the days for which they are tried."""

    # Work.
    charge_batch_size: int = Field(default=128, ge=1, le=1000)
    sweep_interval_s: float = Field(default=1.0, gt=0)
    audit_interval_s: float = Field(default=10.0, gt=0)
    """How often what happened meanwhile is sealed; what a person with all rights does before is not told."""
    republish_after_s: float = Field(default=30.0, gt=0)
    queue_depth_limit: int = Field(default=200, ge=1)
    """The sweeper publishes nothing while a queue holds this many messages."""
    retry_base_s: float = Field(default=1.0, gt=0)
    retry_cap_s: float = Field(default=300.0, gt=0)

    # Reconciliation.
    reconcile_interval_s: float = Field(default=5.0, gt=0)
    """How often a worker looks whether there is something to reconcile."""
    reconcile_grace_s: float = Field(default=3600.0, ge=0)
    """How long one side may be known before the other, before that is an exception: `late` until then."""
    reconcile_after_s: float = Field(default=2 * 3600.0, ge=0, lt=24 * 3600)
    """How long after midnight (UTC) the day before is reconciled."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then variables, then files of secrets; no `.env` that happens to lie about."""
        directory = os.environ.get("MARKETFLOW_SECRETS_DIR") or None
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=directory)

    @property
    def webhook_schedule(self) -> tuple[float, ...]:
        """Return the waits before the attempts of a delivery."""
        return tuple(float(part) for part in self.webhook_schedule_s.split(","))

    @property
    def encryption_key_list(self) -> tuple[str, ...]:
        """Return the encryption keys, the one that encrypts first."""
        return _split(self.encryption_keys)

    @property
    def lease_s(self) -> float:
        """How long a worker may hold a row: longer than one step's calls to Stripe, their waits, and settling."""
        return 4 * (self.stripe_timeout_s + 2 * self.stripe_wait_s) + self.database_statement_timeout_s

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Return the Stripe webhook secrets, in the order in which they are tried."""
        return _split(self.stripe_webhook_secrets)


def _split(secrets: SecretStr) -> tuple[str, ...]:
    return tuple(part.strip() for part in secrets.get_secret_value().split(",") if part.strip())


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process."""
    return Settings()
