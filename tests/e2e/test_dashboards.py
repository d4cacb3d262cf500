"""What operators look at: each expression of dashboards and alerts, on a Prometheus that scrapes the stack."""

import asyncio
import json
import math
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ops.grafana.__main__ import texts
from ops.grafana.panels import DASHBOARDS, RATE, Dashboard, Panel
from ops.stack import Stack
from ops.stack.layout import ROOT
from tests.e2e.market import Caller, Json, Market, new_key
from tests.eventually import eventually

RULES = ROOT / "ops" / "prometheus"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="Prometheus is not installed (Debian's package prometheus)",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(stack: Stack) -> str:
    jobs = {"api": [stack.info.api], "workers": stack.info.worker_metrics}
    scraped = [
        {
            "job_name": job,
            "static_configs": [{"targets": [url.removeprefix("http://").partition("/")[0] for url in urls]}],
        }
        for job, urls in jobs.items()
    ]
    settings = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # YAML takes JSON.
    return json.dumps({"global": settings, "rule_files": [str(RULES / "alerts.yml")], "scrape_configs": scraped})


@pytest.fixture(scope="module")
async def prometheus(
    stack: Stack, market: Market, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus, after everything that is counted happened at least once."""
    directory: Path = tmp_path_factory.mktemp("prometheus")
    (directory / "prometheus.yml").write_text(configuration(stack))
    address = f"127.0.0.1:{free_port()}"
    buyer, seller = await market.register("buyer"), await market.register("seller")
    product = await market.product(seller)
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with subprocess.Popen(  # noqa: ASYNC220 - it is there at once; our own arguments
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}", timeout=10, trust_env=False) as http:
                for _ in range(2):
                    await use(market, buyer, product)
                    await eventually(lambda http=http: scraped_everything(http))
                    await asyncio.sleep(1.1)  # the distance of two scrapes, without which there is no rate
                yield http
        finally:
            process.terminate()


async def use(market: Market, buyer: Caller, product: Json) -> None:
    """Do once whatever the dashboards count."""
    key, order = new_key(), await market.order(buyer, product)
    body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
    payment = (await buyer.post("/v1/payments", body, key=key)).json()
    assert (await buyer.post("/v1/payments", body, key=key)).headers["Idempotent-Replayed"] == "true"
    await market.become(buyer, payment, "succeeded")
    await buyer.get(f"/v1/products/{product['id']}")
    assert (await buyer.get("/v1/ledger/accounts")).status_code == 403


async def scraped_everything(http: httpx.AsyncClient) -> bool:
    up = await ask(http, "up")
    assert len(up) >= 3
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
