"""What operators look at: each expression of dashboards and alerts, on a Prometheus that scrapes the stack."""

import asyncio
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from ops.grafana.__main__ import texts
from ops.grafana.panels import DASHBOARDS, RATE, Dashboard, Panel
from ops.grafana.scraping import RULES, scraping
from ops.stack import Stack, StackInfo
from ops.stack.layout import ROOT
from tests.e2e.market import Caller, Json, Market, new_key
from tests.eventually import eventually

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="Prometheus is not installed (Debian's package prometheus)",
)


_QUARANTINE = """
    UPDATE payments
    SET quarantined_at = now(), quarantine_reason = 'of this test', due_at = NULL, publish_at = NULL
    WHERE id = %s
"""


@pytest.fixture(scope="module")
async def prometheus(
    stack: Stack, market: Market, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus, after everything that is counted happened at least once."""
    directory: Path = tmp_path_factory.mktemp("prometheus")
    buyer, seller = await market.register("buyer"), await market.register("seller")
    product = await market.product(seller)
    # The sandbox answers 404 there: an endpoint that refuses.
    endpoint = {"url": f"{stack.info.stripe}/nothing", "events": ["payment.*"]}
    listening = (await buyer.post("/v1/webhook-endpoints", endpoint)).json()
    with scraping(stack.info, directory) as url:
        async with httpx.AsyncClient(base_url=url, timeout=35, trust_env=False) as http:
            # There is a rate of what was counted between two scrapes, of which one saw what was counted before.
            for _ in range(2):
                await use(market, buyer, product)
                await eventually(lambda: each_is_tried(buyer, listening))
                used_at = time.time() + 0.01  # Prometheus moves a scrape's time by two milliseconds
                await eventually(lambda http=http, used_at=used_at: scraped_everything(http, stack.info, used_at))
            await buyer.client.request("DELETE", f"/v1/webhook-endpoints/{listening['id']}")
            yield http


async def use(market: Market, buyer: Caller, product: Json) -> None:
    """Do once whatever the dashboards count."""
    key, order = new_key(), await market.order(buyer, product)
    body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
    payment = (await buyer.post("/v1/payments", body, key=key)).json()
    assert (await buyer.post("/v1/payments", body, key=key)).headers["Idempotent-Replayed"] == "true"
    await market.become(buyer, payment, "succeeded")
    for _ in range(2):
        await buyer.get(f"/v1/products/{product['id']}")
    assert (await buyer.get("/v1/ledger/accounts")).status_code == 403
    await reconcile(await market.log_in("finance"))


async def reconcile(finance: Caller) -> None:
    """Compare the last hour; what is too young to compare is late, and all else agrees."""
    now = datetime.now(UTC)
    period = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}
    run = (await finance.post("/v1/reconciliations", period)).json()

    async def is_over() -> bool:
        found = (await finance.get(f"/v1/reconciliations/{run['id']}")).json()
        assert found["status"] == "succeeded", found
        return True

    await eventually(is_over)


async def each_is_tried(buyer: Caller, endpoint: Json) -> bool:
    """Whether all that is to be delivered there was tried."""
    found = (await buyer.get(f"/v1/webhook-endpoints/{endpoint['id']}/deliveries")).json()["data"]
    return bool(found) and all(each["log"] for each in found)


async def scraped_everything(http: httpx.AsyncClient, info: StackInfo, since: float = 0.0) -> bool:
    """Whether the newest scrape of each process was a success, and began after that time."""
    api_and_flower = 2
    assert await ask(http, "up") == [1.0] * (len(info.worker_metrics) + api_and_flower)
    return min(await ask(http, "timestamp(up)")) > since


async def ask(http: httpx.AsyncClient, expression: str) -> list[float]:
    answer = await http.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, (expression, answer.text)
    return [float(sample["value"][1]) for sample in answer.json()["data"]["result"]]


@pytest.mark.parametrize(
    ("dashboard", "panel"),
    [pytest.param(each, panel, id=f"{each.uid}-{panel.title}") for each in DASHBOARDS for panel in each.panels],
)
async def test_panel_shows_data(prometheus: httpx.AsyncClient, dashboard: Dashboard, panel: Panel) -> None:
    async def shows(expression: str) -> bool:
        values = await ask(prometheus, expression.replace(RATE, "5m"))
        return any(panel.may_be_idle or not math.isnan(value) for value in values)

    for legend, expression in panel.expressions.items():
        assert await eventually(lambda expression=expression: shows(expression)), (dashboard.title, legend)


_CACHE = "marketflow_product_cache_total"
COUNTED = {
    "requests": 'marketflow_http_request_seconds_count{method="POST",route="/v1/payments",status="202"} > 0',
    "failed requests": 'marketflow_http_request_seconds_count{route="/v1/ledger/accounts",status="403"} > 0',
    "their duration": 'marketflow_http_request_seconds_bucket{method="POST",route="/v1/payments",le="0.1"}',
    "tasks": 'marketflow_task_seconds_count{task="marketflow.charges",outcome="done"} > 0',
    "periodic tasks": 'marketflow_task_seconds_count{task="marketflow.sweep",outcome="done"} > 0',
    "their durations": 'marketflow_task_seconds_bucket{task="marketflow.charges",le="0.1"}',
    "depth of a queue": 'marketflow_work_due{work="charges"}',
    "age of a queue": 'marketflow_work_oldest_seconds{work="charges"}',
    "accept to settle": 'marketflow_settle_seconds_bucket{status="succeeded",le="30.0"} > 0',
    "batches of the API": 'marketflow_batch_size_count{batch="accept"} > 0',
    "batches of the workers": 'marketflow_worker_batch_size_count{batch="settle"} > 0',
    "idempotent replays": 'marketflow_idempotent_replays_total{of="payment"} > 0',
    "calls to Stripe": 'marketflow_stripe_calls_total{outcome="answered"} > 0',
    "failed calls to Stripe": 'marketflow_stripe_calls_total{outcome="failed"}',
    "their duration at Stripe": "marketflow_stripe_call_seconds_count > 0",
    "breaker": 'marketflow_stripe_breaker_state{state="closed"}',
    "governor: waits": "marketflow_stripe_turn_seconds_count",
    "governor: put back": 'marketflow_rows_postponed_total{work="charges"}',
    "ledger drift": 'marketflow_reconciliation_difference_minor{currency="USD"}',
    "exceptions": "marketflow_reconciliation_open_exceptions",
    "deliveries": 'marketflow_delivery_seconds_count{outcome="refused"} > 0',
    "hit rate of the cache": f'sum({_CACHE}{{result=~"hit|shared"}}) / sum({_CACHE}) > 0',
    "pool of the API": "marketflow_api_transactions_open",
    "pools of the workers": "marketflow_worker_transactions_open",
    "sweeper": 'marketflow_rows_swept_total{work="charges"}',
    "streams that stand still": "marketflow_streams_stalled_seconds == 0",
    "sealing": "marketflow_audit_unsealed_seconds",
}


@pytest.mark.parametrize("expression", COUNTED.values(), ids=COUNTED)
async def test_running_stack_shows(prometheus: httpx.AsyncClient, expression: str) -> None:
    async def is_shown() -> bool:
        return bool(await ask(prometheus, expression))

    assert await eventually(is_shown)


async def test_every_process_is_scraped(prometheus: httpx.AsyncClient, stack: Stack) -> None:
    async def all_answer() -> bool:
        return len(await ask(prometheus, 'up{job="workers"} == 1')) == len(stack.info.worker_metrics)

    assert len(stack.info.worker_metrics) >= 2
    assert await eventually(all_answer)


async def test_alerts_are_known_and_none_of_the_running_stack_fires(prometheus: httpx.AsyncClient) -> None:
    groups = (await prometheus.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert len([rule for rule in rules if rule["type"] == "alerting"]) >= 10
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


async def test_alert_fires_when_a_worker_does_not_answer_and_ends_when_it_does(
    stack: Stack, tmp_path: Path
) -> None:
    """By the rules as they are, but that two seconds stand for their minutes."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(re.sub(r"for: \d+m$", "for: 2s", (RULES / "alerts.yml").read_text(), flags=re.MULTILINE))
    dead = 'ALERTS{alertname="WorkerDead",alertstate="%s"}'
    with scraping(stack.info, tmp_path, rules=rules) as url:
        async with httpx.AsyncClient(base_url=url, timeout=35, trust_env=False) as http:

            async def is_over() -> bool:
                return not await ask(http, dead % "firing")

            async def fires() -> list[Json]:
                alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
                wanted = ("WorkerDead", "firing")
                return [each for each in alerts if (each["labels"]["alertname"], each["state"]) == wanted]

            await eventually(lambda: scraped_everything(http, stack.info))
            stack.kill("deliveries", signal.SIGSTOP)
            try:
                (alert,) = await eventually(fires)
            finally:
                stack.kill("deliveries", signal.SIGCONT)
            await eventually(is_over)
            waited = await ask(http, f"count_over_time({dead % 'pending'}[5m])")

    assert alert["labels"]["instance"] in stack.info.worker_metrics[-1]
    assert (ROOT / alert["annotations"]["runbook"]).is_file()
    assert waited


async def test_alert_fires_when_something_is_in_quarantine_and_ends_when_it_is_let_go(
    stack: Stack, market: Market, buyer: Caller, order: Json, tmp_path: Path
) -> None:
    """A payment that waits for its payer stands for one that the database refuses."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(re.sub(r"for: \d+m$", "for: 2s", (RULES / "alerts.yml").read_text(), flags=re.MULTILINE))
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")
    settings = {**os.environ, "MARKETFLOW_DATABASE_URL": stack.info.database_url}
    release = [sys.executable, "-c", "from ops.cli import main; main()", "payments", "retry", payment["id"]]
    with scraping(stack.info, tmp_path, rules=rules) as url:
        async with httpx.AsyncClient(base_url=url, timeout=35, trust_env=False) as http:

            async def firing() -> list[Json]:
                alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
                wanted = ("WorkIsQuarantined", "firing")
                return [each for each in alerts if (each["labels"]["alertname"], each["state"]) == wanted]

            async def is_over() -> bool:
                return not await firing()

            async def refused() -> list[Json]:
                # Whatever Stripe tells of it meanwhile ends the quarantine.
                async with await psycopg.AsyncConnection.connect(stack.info.database_url) as connection:
                    await connection.execute(_QUARANTINE, (payment["id"],))
                return await firing()

            (alert,) = await eventually(refused)
            released = await asyncio.create_subprocess_exec(*release, env=settings)
            assert await released.wait() == 0
            await eventually(is_over)

    assert alert["labels"]["work"] == "charges"
    assert (await market.become(buyer, payment, "requires_action"))["status"] == "requires_action"


def test_each_alert_fires_when_it_must_and_not_before() -> None:
    command = ["promtool", "test", "rules", "alerts_test.yml", "alerts_days_test.yml"]
    tested = subprocess.run(command, cwd=RULES, capture_output=True, text=True, check=False)

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
@pytest.mark.parametrize("tells_somebody", [False, True])
def test_prometheus_understands_what_it_is_told(tmp_path: Path, name: str, *, tells_somebody: bool) -> None:
    """With the block that tells an Alertmanager, which stands there as a comment, and without it."""
    shutil.copy(RULES / "alerts.yml", tmp_path)
    # Debian's Prometheus knows no Kubernetes: a file stands for what would be found there.
    found = "file_sd_configs: [{files: [pods.json]}]\n"
    text = re.sub(r"kubernetes_sd_configs:\n.*\n.*\n", found, (RULES / name).read_text())
    told = re.sub(r"^# (alerting:| {2,})", r"\1", text, flags=re.MULTILINE)
    (tmp_path / name).write_text(told if tells_somebody else text)
    command = ["promtool", "check", "config", "--lint-fatal", name]

    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert told.count("\nalerting:\n  alertmanagers:\n") == 1
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_files_of_grafana_say_what_the_panels_say() -> None:
    assert {path: path.read_text() for path in texts()} == texts(), "run python -m ops.grafana"
