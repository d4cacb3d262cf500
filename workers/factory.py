"""How a Celery application of ours is set up, for whoever consumes our queues."""

from celery import Celery

from db.broker import (
    EXCHANGE,
    MAINTENANCE,
    ONCE_MORE,
    declare_queues,
    exchange_type,
    retries,
    transport_options,
)


def make_celery(broker_url: str, *, socket_timeout_s: float) -> Celery:
    """Return a Celery application with our queues; `socket_timeout_s` bounds every wait for the broker.

    A consumer needs more of it than a publisher, since it waits for messages on the same socket.
    """
    app = Celery("marketflow", broker=broker_url, set_as_current=False, fixups=())
    app.conf.update(
        task_queues=list(declare_queues(broker_url).values()),
        task_default_queue=MAINTENANCE,
        task_default_exchange=EXCHANGE,
        task_default_exchange_type=exchange_type(broker_url),
        task_default_routing_key=MAINTENANCE,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # What beat publishes is tried as often as what `db.broker` does.
        task_publish_retry=retries(broker_url),
        task_publish_retry_policy=ONCE_MORE,
        broker_connection_timeout=socket_timeout_s,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(broker_url, socket_timeout_s),
        # No task of ours waits in the broker, but with quorum queues a worker declares 28 queues for delayed ones.
        broker_native_delayed_delivery_queue_type="classic",
        task_serializer="json",
        accept_content=["json"],
        enable_utc=True,
    )
    return app
