"""Every alert has a test, and a runbook that was followed."""

import re

import pytest

from ops.stack.layout import ROOT

RULES = ROOT / "ops" / "prometheus"
ALERTS = re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - |\Z)", (RULES / "alerts.yml").read_text(), re.DOTALL)


@pytest.mark.parametrize(("name", "rule"), ALERTS, ids=[name for name, _ in ALERTS])
def test_alert_is_tested_and_says_what_to_do(name: str, rule: str) -> None:
    tests = (RULES / "alerts_test.yml").read_text() + (RULES / "alerts_days_test.yml").read_text()
    runbook = re.search(r"runbook: (\S+)", rule)

    assert runbook is not None
    assert "**Followed** with" in (ROOT / runbook[1]).read_text()
    assert re.search(rf"alertname: {name}\n +exp_alerts:\n", tests), "no case in which it fires"
    assert re.search(rf"alertname: {name}\n(?! +exp_alerts:)", tests), "no case in which it does not"
    assert name in (ROOT / "ops" / "runbooks" / "README.md").read_text()
