"""Reading the log again for those who were away: many at once share a pass over it."""

from collections.abc import Callable, Iterator, Sequence

from domain.errors import DomainError
from domain.feed.model import Item, LoggedEvent, Replay, Replayed
from domain.feed.ports import FeedTransaction
from domain.transactions import Begin

# PERF: the log is read by position and not by user, since an index by user would cost every payment more than a
# client that comes back ever costs. A pass is bounded by how far it goes and by how much it finds.
_WINDOW = 20_000
_PAGE = 500


class Replays:
    """Reads parts of the log, as they were, for several readers."""

    def __init__(self, begin: Begin[FeedTransaction], render: Callable[[LoggedEvent], bytes]) -> None:
        """Keep where transactions begin, and how an event is sent."""
        self._begin = begin
        self._render = render

    async def read(self, asked: Sequence[Replay]) -> list[Replayed | DomainError]:
        """Return for each the next part of what it asks for, in the order asked.

        Those who stand close together share a pass. A part may be empty; the one who stands furthest back always
        gets on. Errors: Unavailable.
        """
        answers: dict[int, Replayed] = {}
        async with self._begin() as tx:
            for group in _groups(asked):
                replays = [asked[index] for index in group]
                events, through = await self._pass(tx, replays)
                items = {logged.position: Item(logged.position, self._render(logged)) for logged in events}
                for index, replay in zip(group, replays, strict=True):
                    answers[index] = _part(replay, events, items, through)
        return [answers[index] for index in range(len(asked))]

    async def _pass(self, tx: FeedTransaction, group: Sequence[Replay]) -> tuple[Sequence[LoggedEvent], int]:
        """Return what concerns anybody of a group, and how far it was read."""
        after = group[0].after
        through = min(after + _WINDOW, max(replay.through for replay in group))
        principals = [replay.principal for replay in group]
        everything = any(principal.sees_all for principal in principals)
        readers = None if everything else {principal.user_id for principal in principals}
        events = await tx.feed.between(after, through, readers, limit=_PAGE)
        return events, events[-1].position if len(events) == _PAGE else through


def _groups(asked: Sequence[Replay]) -> Iterator[list[int]]:
    """Yield the indexes of those who stand within a window of each other, from the furthest back on."""
    group: list[int] = []
    for index in sorted(range(len(asked)), key=lambda index: asked[index].after):
        if group and asked[index].after >= asked[group[0]].after + _WINDOW:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _part(replay: Replay, events: Sequence[LoggedEvent], items: dict[int, Item], through: int) -> Replayed:
    end = max(replay.after, min(replay.through, through))
    mine = [
        items[logged.position]
        for logged in events
        if replay.after < logged.position <= end and logged.concerns(replay.principal)
    ]
    return Replayed(mine, end)
