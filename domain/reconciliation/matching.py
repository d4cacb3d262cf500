"""Matching: pure functions over the lines of a page and the journals that may be theirs. No I/O."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.ids import PaymentId
from domain.ledger.model import JournalKind
from domain.reconciliation.model import (
    NOTHING_BOOKED,
    BookedJournal,
    BreakKind,
    Finding,
    LedgerSide,
    StripeLine,
)
from domain.reconciliation.rules import CATEGORY_OF, EXCHANGES, RULES, Key, Rule

JournalKey = tuple[JournalKind, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known when lines are judged: the journals by kind and source, and whose each line is, by its id.

    `contents` is what the transactions in a payout come to, by the id of its line, where Stripe has listed all.
    What is younger than the grace may still be in transit.
    """

    journals: Mapping[JournalKey, BookedJournal]
    owners: Mapping[str, PaymentId]
    now: datetime
    grace: timedelta
    contents: Mapping[str, int] = field(default_factory=dict)

    def is_young(self, moment: datetime) -> bool:
        """Tell whether the other side of what happened then may still come."""
        return self.now - moment < self.grace


def journal_keys(lines: Sequence[StripeLine]) -> list[JournalKey]:
    """Return kind and source of every journal that may be about one of the lines."""
    return sorted({key for line in lines for key in (*_main_keys(line), *_side_keys(line))})


def judge(lines: Sequence[StripeLine], known: Known) -> list[Finding]:
    """Return what is found of each line, in order.

    Of several lines that one cause may have moved once, all must be there: one is the true one, the others are
    duplicates.
    """
    doubles = _doubles(lines, known)
    return [_judge(line, known, is_double=line.id in doubles) for line in lines]


def judge_journals(journals: Sequence[BookedJournal], known: Known) -> list[Finding]:
    """Return what is found of journals for which Stripe lists no movement: one finding for each movement.

    The journals of fees and exchanges go with the first journal of the same payment and category.
    """
    mains: dict[tuple[PaymentId | None, str], list[BookedJournal]] = {}
    groups: list[list[BookedJournal]] = []
    sides: list[BookedJournal] = []
    for journal in journals:
        category = CATEGORY_OF.get(journal.kind)
        if category is None:
            sides.append(journal)
            continue
        groups.append([journal])
        mains.setdefault((journal.payment_id, category), groups[-1])
    for journal in sides:
        group = _group_of(journal, mains)
        if group is None:
            groups.append([journal])
        else:
            group.append(journal)
    return [_unseen(group, known) for group in groups]


def _group_of(
    journal: BookedJournal, mains: Mapping[tuple[PaymentId | None, str], list[BookedJournal]]
) -> list[BookedJournal] | None:
    if journal.payment_id is None:
        return None
    wanted = [
        category for category, rule in RULES.items() if journal.kind in EXCHANGES or rule.fee_kind is journal.kind
    ]
    groups = [
        mains[journal.payment_id, category] for category in wanted if (journal.payment_id, category) in mains
    ]
    return groups[0] if groups else None


def _unseen(journals: Sequence[BookedJournal], known: Known) -> Finding:
    young = known.is_young(max(journal.created_at for journal in journals))
    side = _side(journals, fee_kinds=_FEES)
    return Finding(None, side, BreakKind.LATE if young else BreakKind.MISSING_AT_STRIPE)


def _doubles(lines: Sequence[StripeLine], known: Known) -> Collection[str]:
    """Return the ids of those lines whose cause has another line that is the true one."""
    by_cause: defaultdict[tuple[str, str], list[StripeLine]] = defaultdict(list)
    for line in lines:
        rule = RULES.get(line.category)
        if rule is not None and rule.key is Key.SOURCE and line.source is not None:
            by_cause[line.category, line.source].append(line)
    doubles: set[str] = set()
    for rivals in by_cause.values():
        if len(rivals) > 1 and (known.owners.get(rivals[0].id) or _mains(rivals[0], known)):
            true = min(rivals, key=lambda line: (not _sides(line, known), line.created_at, line.id))
            doubles |= {line.id for line in rivals if line is not true}
    return doubles


def _judge(line: StripeLine, known: Known, *, is_double: bool) -> Finding:
    rule = RULES.get(line.category)
    if rule is None:
        return Finding(line, NOTHING_BOOKED, BreakKind.UNKNOWN_SOURCE)
    if is_double:
        return Finding(line, NOTHING_BOOKED, BreakKind.DUPLICATE)
    mains, sides = _mains(line, known), _sides(line, known)
    ledger = _side((*mains, *sides), fee_kinds={rule.fee_kind} if rule.fee_kind else set())
    return Finding(line, ledger, _break(line, rule, mains, ledger, known), known.contents.get(line.id))


def _break(
    line: StripeLine, rule: Rule, mains: Sequence[BookedJournal], ledger: LedgerSide, known: Known
) -> BreakKind | None:
    if not mains and line.amount_minor:
        if line.id not in known.owners and not rule.is_always_ours:
            return BreakKind.UNKNOWN_SOURCE
        return BreakKind.LATE if known.is_young(line.created_at) else BreakKind.MISSING_IN_LEDGER
    if len(mains) > 1:
        return BreakKind.DUPLICATE
    kind = _mismatch(line, ledger)
    if kind is None and known.contents.get(line.id, -line.amount_minor) != -line.amount_minor:
        # Both sides have the payout, but Stripe lists other movements in it than it paid out.
        return BreakKind.AMOUNT_MISMATCH
    lacks_sides = len(ledger.journals) == len(mains)
    # The fee, and with it the exchange, may be told and booked after the movement itself.
    may_come = kind in {BreakKind.FEE_MISMATCH, BreakKind.CURRENCY_MISMATCH} and lacks_sides
    return BreakKind.LATE if may_come and rule.fee_kind and known.is_young(line.created_at) else kind


def _mismatch(line: StripeLine, ledger: LedgerSide) -> BreakKind | None:
    if ledger.journals and ledger.currency != line.currency:
        return BreakKind.CURRENCY_MISMATCH
    if (ledger.amount_minor or 0) != line.amount_minor:
        return BreakKind.AMOUNT_MISMATCH
    return BreakKind.FEE_MISMATCH if ledger.fee_minor != line.fee_minor else None


_FEES = frozenset(rule.fee_kind for rule in RULES.values() if rule.fee_kind)


def _side(journals: Sequence[BookedJournal], *, fee_kinds: Collection[JournalKind]) -> LedgerSide:
    """Add up what journals did to our balance at Stripe: in one currency, or it cannot be compared."""
    amounts: defaultdict[str, int] = defaultdict(int)
    fees: defaultdict[str, int] = defaultdict(int)
    for journal in journals:
        side = fees if journal.kind in fee_kinds else amounts
        side[journal.currency] += -journal.balance_minor if side is fees else journal.balance_minor
    moved = {currency: minor for currency, minor in amounts.items() if minor}
    taken = {currency: minor for currency, minor in fees.items() if minor}
    currencies = moved.keys() | taken.keys()
    if len(currencies) > 1:
        return LedgerSide(tuple(journals))
    currency = next(iter(currencies), next(iter(amounts), None))
    return LedgerSide(tuple(journals), sum(moved.values()), sum(taken.values()), currency)


def _mains(line: StripeLine, known: Known) -> list[BookedJournal]:
    return [known.journals[key] for key in _main_keys(line) if key in known.journals]


def _sides(line: StripeLine, known: Known) -> list[BookedJournal]:
    return [known.journals[key] for key in _side_keys(line) if key in known.journals]


def _main_keys(line: StripeLine) -> list[JournalKey]:
    rule = RULES.get(line.category)
    if rule is None:
        return []
    name = line.id if rule.key is Key.TRANSACTION else line.source
    return [(kind, name) for kind in rule.kinds] if name is not None else []


def _side_keys(line: StripeLine) -> list[JournalKey]:
    rule = RULES.get(line.category)
    if rule is None:
        return []
    fee_kinds = [rule.fee_kind] if rule.fee_kind is not None else []
    return [(kind, line.id) for kind in (*fee_kinds, *EXCHANGES)]
