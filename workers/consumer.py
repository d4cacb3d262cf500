"""What a worker tells its monitors, such as Flower, of the tasks that it does."""

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

_TOLD_EVERY_S = 0.5


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's own, which tells of its tasks twice a second.

    PERF: Celery gathers what there is to tell, but publishes it at the next turn of its loop, which is nearly each
    task by itself: it took a twelfth of a worker's time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Begin with nothing to tell."""
        super().__init__(*args, **options)
        self._is_to_tell = False

    def on_send_event_buffered(self) -> None:
        """Note that there is something to tell, from any thread; a full buffer is told at once."""
        if self.hub and not self._is_to_tell:
            self._is_to_tell = True
            # The timer is the loop's own: other threads may not touch it.
            self.hub.call_soon(self.hub.call_later, _TOLD_EVERY_S, self.tell)

    def tell(self) -> None:
        """Publish what there is to tell."""
        self._is_to_tell = False
        self._flush_events()

    def shutdown(self) -> None:
        """Tell the last of it, then stop."""
        self.tell()
        super().shutdown()
