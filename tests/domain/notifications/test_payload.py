import json

from domain.notifications.payload import render
from tests.builders import NOW, a_leased_delivery, an_endpoint


def test_body_names_event_subject_and_sequence_and_is_the_same_at_every_attempt() -> None:
    delivery = a_leased_delivery(an_endpoint(), data={"amount_minor": 1999, "note": "größer"})

    body = render(delivery)

    assert json.loads(body) == {
        "id": str(delivery.event_id),
        "type": "order.paid",
        "version": 1,
        "timestamp": NOW.isoformat().replace("+00:00", "Z"),
        "subject_id": str(delivery.subject_id),
        "sequence": 7,
        "data": {"amount_minor": 1999, "note": "größer"},
    }
    assert render(a_leased_delivery(an_endpoint())) != body
    assert render(delivery) == body
