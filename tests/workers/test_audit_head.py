"""The head of the audit log leaves the database by the log and by metrics that do not grow."""

from dataclasses import replace

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from domain.audit.model import Log, Record, make_seal
from tests.builders import NOW
from workers.audit_head import publish_head


def test_head_is_logged_whole_and_measured_by_its_first_digits() -> None:
    seal = make_seal(None, Log.EVENTS, 1, [Record(7, bytes(8), "[7]")], NOW)
    before = REGISTRY.get_sample_value("marketflow_audit_records_total", {"log": "events"}) or 0

    with capture_logs() as logs:
        publish_head(replace(seal, number=41))

    assert [(line["event"], line["seal"], line["hash"]) for line in logs] == [
        ("audit_sealed", 41, seal.hash.hex())
    ]
    assert REGISTRY.get_sample_value("marketflow_audit_seal") == 41
    head = REGISTRY.get_sample_value("marketflow_audit_head")
    assert head is not None
    assert f"{int(head):012x}" == seal.hash.hex()[:12]
    assert REGISTRY.get_sample_value("marketflow_audit_records_total", {"log": "events"}) == before + 1
