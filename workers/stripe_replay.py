"""`python -m workers.stripe_replay`: what `marketflow stripe replay` starts. It tells of itself in JSON lines."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from domain.errors import Unavailable
from domain.settlement.inbox.stripe_replay import StripeReplay
from domain.settlement.model import EventWindow, StripeEventStatus
from ops.errors import COULD_NOT_LOOK
from ops.settings import get_settings
from ops.telemetry import configure_logs
from workers.services import Services, open_services

_LOOK_S = 0.5
_PATIENCE_S = 60.0
"""After so long without progress nobody seems to work; the events stay due."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay, and return 0 when all is processed, or was only to be begun; 1 when something is left.

    3 when Stripe or a server of ours does not answer.
    """
    options = _parse(arguments)
    settings = get_settings()
    # A person waits, who reads the reason in words, once; each try would log it too.
    configure_logs(settings.log_format, "CRITICAL")
    window = EventWindow(options.since, options.until, options.type)

    async def run() -> int:
        async with open_services(settings) as services:
            return await _replay(services, window, dry_run=options.dry_run, wait=options.wait)

    try:
        return asyncio.run(run())
    except Unavailable as error:
        _tell(error=error.message)
        return COULD_NOT_LOOK
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--since", type=datetime.fromisoformat, required=True)
    parser.add_argument("--until", type=datetime.fromisoformat, required=True)
    parser.add_argument("--type")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--no-wait", dest="wait", action="store_false")
    return parser.parse_args(arguments)


async def _replay(services: Services, window: EventWindow, *, dry_run: bool, wait: bool) -> int:
    replay = services.replay
    async for fetched in replay.fetch(window, dry_run=dry_run):
        _tell(listed=fetched.listed, missing=fetched.missing)
    if dry_run:
        counts = await replay.count(window, handled_since=window.since)
        waiting = counts.get(StripeEventStatus.RECEIVED, 0)
        _tell(again=sum(counts.values()) - waiting, left=waiting)
        return 0
    # What the workers finish from here on was processed again.
    began = services.clock.now()
    async for again in replay.again(window, handled_before=began):
        _tell(again=again)
    return await _follow(replay, window, began, wait=wait)


async def _follow(replay: StripeReplay, window: EventWindow, began: datetime, *, wait: bool) -> int:
    """Tell what becomes of the events until none waits."""
    moved_at, left_before = time.monotonic(), -1
    while True:
        counts = await replay.count(window, handled_since=began)
        left = counts.get(StripeEventStatus.RECEIVED, 0)
        results = {str(status): n for status, n in counts.items() if status is not StripeEventStatus.RECEIVED}
        if left != left_before:
            _tell(left=left, results=results)
            moved_at, left_before = time.monotonic(), left
        if not left or not wait:
            return 0
        if time.monotonic() - moved_at > _PATIENCE_S:
            return 1
        await asyncio.sleep(_LOOK_S)


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
