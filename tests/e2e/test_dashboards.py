"""What operators look at: each expression of dashboards and alerts, on a Prometheus that scrapes the stack."""

import asyncio
import math
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ops.grafana.__main__ import texts
from ops.grafana.panels import DASHBOARDS, RATE, Dashboard, Panel
from ops.grafana.scraping import RULES, scraping
from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market, new_key
from tests.eventually import eventually

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="Prometheus is not installed (Debian's package prometheus)",
)


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
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
            for _ in range(2):
                await use(market, buyer, product)
                await eventually(lambda http=http: scraped_everything(http))
                await asyncio.sleep(1.1)  # the distance of two scrapes, without which there is no rate
            await buyer.client.request("DELETE", f"/v1/webhook-endpoints/{listening['id']}")
            yield http


async def use(market: Market, buyer: Caller, product: Json) -> None:
    """Do once whatever the dashboards count."""
    key, order = new_key(), await market.order(buyer, product)
    body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
    payment = (await buyer.post("/v1/payments", body, key=key)).json()
    assert (await buyer.post("/v1/payments", body, key=key)).headers["Idempotent-Replayed"] == "true"
    await market.become(buyer, payment, "succeeded")
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


async def scraped_everything(http: httpx.AsyncClient) -> bool:
    up = await ask(http, "up")
    assert len(up) >= 4
    assert set(up) == {1.0}
    return True


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


async def test_alerts_are_known_and_none_of_the_running_stack_fires(prometheus: httpx.AsyncClient) -> None:
    groups = (await prometheus.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert len([rule for rule in rules if rule["type"] == "alerting"]) >= 10
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def test_each_alert_fires_when_it_must_and_not_before() -> None:
    command = ["promtool", "test", "rules", "alerts_test.yml"]
    tested = subprocess.run(command, cwd=RULES, capture_output=True, text=True, check=False)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_files_of_grafana_say_what_the_panels_say() -> None:
    assert {path: path.read_text() for path in texts()} == texts(), "run python -m ops.grafana"
