"""What the dashboards show. A test runs each expression on a Prometheus that scraped the running stack."""

from dataclasses import dataclass, field
from typing import Any

COLUMNS = 3
_WIDTH, _HEIGHT = 8, 7
_DATASOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph, or one number: its expressions by legend, and the unit as Grafana names it."""

    title: str
    expressions: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    thresholds: tuple[tuple[str, float | None], ...] = (("green", None),)
    may_be_idle: bool = False
    """Whether its series are without a value while what it watches does not happen."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    panels: tuple[Panel, ...] = field(default=())


RATE = "$__rate_interval"
_ACCEPT = 'method="POST",route="/v1/payments"'
_GOOD_ACCEPTS = f'marketflow_http_request_seconds_bucket{{{_ACCEPT},status="202",le="0.1"}}'
_ALL_ACCEPTS = f'marketflow_http_request_seconds_count{{{_ACCEPT},status=~"202|5.."}}'


def _quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"


def _rate(metric: str, by: str = "") -> str:
    return f"sum by ({by}) (rate({metric}[{RATE}]))" if by else f"sum(rate({metric}[{RATE}]))"


def _budget(good: str, every: str) -> str:
    """Return what is left of the error budget of 0.1 % over 30 days: 1 is all, below 0 the objective is missed."""
    return f"1 - (1 - sum(increase({good}[30d])) / sum(increase({every}[30d]))) / 0.001"


_BUDGET_COLOURS: tuple[tuple[str, float | None], ...] = (("red", None), ("orange", 0), ("green", 0.25))

OVERVIEW = Dashboard(
    "marketflow-overview",
    "MarketFlow · overview and objectives",
    (
        Panel(
            "Accepts under 100 ms: budget left",
            {"left": _budget(_GOOD_ACCEPTS, _ALL_ACCEPTS)},
            "percentunit",
            "stat",
            "99.9 % of accepts within 100 ms, over 30 days. A request that fails counts against it.",
            _BUDGET_COLOURS,
        ),
        Panel(
            "Settled within 30 s: budget left",
            {"left": _budget('marketflow_settle_seconds_bucket{le="30.0"}', "marketflow_settle_seconds_count")},
            "percentunit",
            "stat",
            "99.9 % of payments settled within 30 s, over 30 days.",
            _BUDGET_COLOURS,
        ),
        Panel(
            "Oldest work",
            {"{{work}}": "max by (work) (marketflow_work_oldest_seconds)"},
            "s",
            "stat",
            "How long the oldest due row of each kind has waited.",
            (("green", None), ("orange", 30), ("red", 120)),
        ),
        Panel(
            "Payments accepted and settled",
            {
                "accepted": _rate(f'marketflow_http_request_seconds_count{{{_ACCEPT},status="202"}}'),
                "settled: {{status}}": _rate("marketflow_settle_seconds_count", "status"),
            },
            "reqps",
        ),
        Panel(
            "Time to accept",
            {
                f"p{int(q * 100)}": _quantile(q, "marketflow_http_request_seconds").replace(
                    "_bucket[", f"_bucket{{{_ACCEPT}}}["
                )
                for q in (0.5, 0.95, 0.99)
            },
            "s",
        ),
        Panel(
            "From accepted to settled",
            {f"p{int(q * 100)}": _quantile(q, "marketflow_settle_seconds") for q in (0.5, 0.95, 0.99)},
            "s",
        ),
        Panel(
            "Requests by status",
            {"{{status}}": _rate("marketflow_http_request_seconds_count", "status")},
            "reqps",
        ),
        Panel(
            "Slowest routes, p99",
            {
                "{{method}} {{route}}": "topk(8, "
                + _quantile(0.99, "marketflow_http_request_seconds", "method, route")
                + ")"
            },
            "s",
        ),
        Panel(
            "Refusals by code",
            {"{{code}}": _rate("marketflow_refusals_total", "code")},
            "reqps",
            about="`credentials_wrong` and `refresh_token_reused` tell of attacks.",
        ),
    ),
)

PAYMENTS = Dashboard(
    "marketflow-payments",
    "MarketFlow · payments pipeline",
    (
        Panel("Due rows", {"{{work}}": "max by (work) (marketflow_work_due)"}),
        Panel("Age of the oldest", {"{{work}}": "max by (work) (marketflow_work_oldest_seconds)"}, "s"),
        Panel(
            "Breaker before Stripe",
            {"{{state}}": "max by (state) (marketflow_stripe_breaker_state)"},
            about="1 for the state that holds.",
        ),
        Panel("Calls to Stripe", {"{{outcome}}": _rate("marketflow_stripe_calls_total", "outcome")}, "reqps"),
        Panel(
            "Duration of calls to Stripe",
            {f"p{int(q * 100)}": _quantile(q, "marketflow_stripe_call_seconds") for q in (0.5, 0.99)},
            "s",
        ),
        Panel(
            "Wait for a turn at Stripe",
            {"p99": _quantile(0.99, "marketflow_stripe_turn_seconds")},
            "s",
            about="What the governor holds back. Empty where no rate is set.",
            may_be_idle=True,
        ),
        Panel("Tasks", {"{{task}} {{outcome}}": _rate("marketflow_task_seconds_count", "task, outcome")}, "ops"),
        Panel("Duration of tasks, p99", {"{{task}}": _quantile(0.99, "marketflow_task_seconds", "task")}, "s"),
        Panel(
            "Rows in a batch",
            {
                "accept": "sum(rate(marketflow_batch_size_sum[$__rate_interval])) "
                "/ sum(rate(marketflow_batch_size_count[$__rate_interval]))",
                "settle": "sum(rate(marketflow_worker_batch_size_sum[$__rate_interval])) "
                "/ sum(rate(marketflow_worker_batch_size_count[$__rate_interval]))",
            },
        ),
        Panel(
            "Announced again by the sweeper",
            {"{{work}}": _rate("marketflow_rows_swept_total", "work")},
            "ops",
            about="Rows that were due and whose message was lost, late or never sent.",
        ),
        Panel(
            "Put back, since Stripe could not be asked", {"rows": _rate("marketflow_rows_postponed_total")}, "ops"
        ),
        Panel(
            "Answered from an earlier request",
            {"{{of}}": _rate("marketflow_idempotent_replays_total", "of")},
            "ops",
        ),
        Panel(
            "Webhooks to clients", {"{{outcome}}": _rate("marketflow_delivery_seconds_count", "outcome")}, "reqps"
        ),
        Panel(
            "Duration of webhooks to clients",
            {f"p{int(q * 100)}": _quantile(q, "marketflow_delivery_seconds") for q in (0.5, 0.99)},
            "s",
        ),
        Panel(
            "Refunds, payouts and their like that wait",
            {"{{work}}": 'max by (work) (marketflow_work_due{work=~"refunds|onboardings|payouts|reversals"})'},
        ),
        Panel(
            "In quarantine",
            {"{{work}}": "max by (work) (marketflow_work_quarantined)"},
            about="What the database refused, and late money that did not go back. It waits for a person.",
        ),
    ),
)

_BOOKS = 'task=~"marketflow.(reconcile|roll_up|seal_audit_log|pay_out_available)"'

LEDGER = Dashboard(
    "marketflow-ledger",
    "MarketFlow · ledger and reconciliation",
    (
        Panel(
            "Ledger minus Stripe",
            {"{{currency}}": "max by (currency) (marketflow_reconciliation_difference_minor)"},
            "short",
            "stat",
            "In minor units, where the last reconciliation ends. 0 is right, and nothing else is.",
            (("red", None), ("green", 0), ("red", 1)),
        ),
        Panel(
            "Open exceptions",
            {"open": "max(marketflow_reconciliation_open_exceptions)"},
            "short",
            "stat",
            "What waits for the other side, or for a person.",
            (("green", None), ("orange", 1)),
        ),
        Panel(
            "Oldest open exception",
            {"age": "max(marketflow_reconciliation_oldest_open_seconds)"},
            "s",
            "stat",
            "After a day somebody is asked to look.",
            (("green", None), ("orange", 86_400)),
        ),
        Panel(
            "Since the last reconciliation",
            {"age": "time() - (max(marketflow_reconciliation_succeeded_timestamp_seconds) > 0)"},
            "s",
            about="Every night there is one; after 30 hours without one there is an alert.",
        ),
        Panel(
            "Booked, and sealed",
            {"{{log}}": _rate("marketflow_audit_records_total", "log")},
            "ops",
            about="Journals and events that went into the chain of hashes.",
        ),
        Panel(
            "Head of the audit log",
            {"seal": "max(marketflow_audit_seal)"},
            about="The number of the newest seal. It grows while anything happens, and never falls.",
        ),
        Panel(
            "Work on the books",
            {"{{task}} {{outcome}}": _rate(f"marketflow_task_seconds_count{{{_BOOKS}}}", "task, outcome")},
            "ops",
        ),
        Panel(
            "Duration of work on the books, p99",
            {
                "{{task}}": _quantile(0.99, "marketflow_task_seconds", "task").replace(
                    "_bucket[", f"_bucket{{{_BOOKS}}}["
                )
            },
            "s",
        ),
        Panel(
            "Stripe's events that wait",
            {
                "rows": 'max(marketflow_work_due{work="stripe_events"})',
                "age of the oldest, in seconds": 'max(marketflow_work_oldest_seconds{work="stripe_events"})',
            },
            about="What Stripe has told and the books do not say yet.",
        ),
    ),
)

INFRASTRUCTURE = Dashboard(
    "marketflow-infrastructure",
    "MarketFlow · infrastructure",
    (
        Panel("Processes that answer", {"{{job}}": "sum by (job) (up)"}),
        Panel(
            "CPU of the workers",
            {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"},
            "percentunit",
        ),
        Panel("Memory of the workers", {"{{instance}}": "process_resident_memory_bytes"}, "bytes"),
        Panel(
            "Open transactions",
            {
                "api": "sum(marketflow_api_transactions_open)",
                "worker {{instance}}": "marketflow_worker_transactions_open",
            },
            about="Above the size of the pools (MARKETFLOW_DATABASE_POOL_SIZE), some wait for a connection.",
        ),
        Panel(
            "Not yet sealed in the audit log",
            {"oldest": "max(marketflow_audit_unsealed_seconds)"},
            "s",
            about="Sealing comes every ten seconds. The newest seal: marketflow_audit_seal.",
        ),
        Panel("Open files of the workers", {"{{instance}}": "process_open_fds"}),
        Panel("Streams", {"open": "sum(marketflow_streams_open)", "cut": _rate("marketflow_streams_cut_total")}),
        Panel(
            "Streams stand still",
            {"longest": "max(marketflow_streams_stalled_seconds)"},
            "s",
            about="A transaction that somebody left open, in psql perhaps, holds up all that follow events.",
        ),
        Panel(
            "Products read through the cache",
            {"{{result}}": _rate("marketflow_product_cache_total", "result")},
            "ops",
        ),
        Panel(
            "Without Redis",
            {
                "limiter let through": _rate("marketflow_rate_limiter_failures_total"),
                "changes not told (api)": _rate("marketflow_api_changes_lost_total"),
                "changes not told (workers)": _rate("marketflow_worker_changes_lost_total"),
                "breaker decided alone": _rate("marketflow_stripe_egress_alone_total"),
            },
            "ops",
            about="All is well at 0: payments go on without Redis, only later and less guarded.",
        ),
        Panel(
            "Announcements that the broker did not take",
            {
                "api": _rate("marketflow_api_announcements_lost_total"),
                "workers": _rate("marketflow_worker_announcements_lost_total"),
            },
            "ops",
            about="The sweeper announces those rows later.",
        ),
        Panel("Workers that Flower hears", {"{{worker}}": "max by (worker) (flower_worker_online)"}),
        Panel(
            "Messages that Flower sees done",
            {"{{task}}": 'sum by (task) (rate(flower_events_total{type="task-succeeded"}[$__rate_interval]))'},
            "ops",
        ),
        Panel(
            "Time of a message in Flower, p99",
            {"{{task}}": _quantile(0.99, "flower_task_runtime_seconds", "task")},
            "s",
        ),
    ),
)

DASHBOARDS = (OVERVIEW, PAYMENTS, LEDGER, INFRASTRUCTURE)


def render(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["marketflow"],
        "timezone": "utc",
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_render_panel(panel, number) for number, panel in enumerate(dashboard.panels)],
    }


def _render_panel(panel: Panel, number: int) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": _DATASOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"color": color, "value": value} for color, value in panel.thresholds],
                },
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }
