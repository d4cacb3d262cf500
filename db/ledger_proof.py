"""The proofs of `marketflow ledger verify`: each statement returns what breaks a rule, so none is right."""

from db.sql import Sql

TOTALS = Sql(
    """
    SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
    FROM entries GROUP BY account, currency ORDER BY account, currency
    """
)

PROOFS = {
    "a journal does not balance, or has other entries than it names": Sql(
        """
        SELECT j.id FROM journals j LEFT JOIN entries e ON e.journal_id = j.id
        GROUP BY j.id
        HAVING coalesce(sum(e.amount_minor), 1) <> 0 OR count(e.line) <> j.entry_count
            OR bool_or(e.currency <> j.currency)
        ORDER BY j.id LIMIT 100
        """
    ),
    "an entry has no journal": Sql(
        """
        SELECT e.journal_id FROM entries e LEFT JOIN journals j ON j.id = e.journal_id
        WHERE j.id IS NULL ORDER BY e.journal_id LIMIT 100
        """
    ),
    "debits and credits differ in a currency": Sql(
        "SELECT currency FROM entries GROUP BY currency HAVING sum(amount_minor) <> 0 ORDER BY currency LIMIT 100"
    ),
    "a folded balance is not the sum of its entries": Sql(
        """
        SELECT coalesce(b.account, s.account) || ' ' || coalesce(b.currency, s.currency)
        FROM balances b FULL JOIN (
            SELECT account, currency, sum(amount_minor) AS balance_minor FROM entries
            WHERE transaction_id < (SELECT through FROM balance_folds)
            GROUP BY account, currency
        ) AS s ON s.account = b.account AND s.currency = b.currency
        WHERE b.balance_minor IS DISTINCT FROM s.balance_minor
        ORDER BY 1 LIMIT 100
        """
    ),
    "a journal's id tells another day than the journal": Sql(
        """
        SELECT id FROM journals
        WHERE abs(extract(epoch FROM uuid_extract_timestamp(id) - created_at)) > 86400
        ORDER BY id LIMIT 100
        """
    ),
    "a day of Stripe's list is not the sum of its lines": Sql(
        """
        SELECT coalesce(d.day, s.day) || ' ' || coalesce(d.currency, s.currency)
        FROM (SELECT * FROM stripe_days WHERE lines <> 0 OR net_minor <> 0) AS d FULL JOIN (
            SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency,
                sum(amount_minor - fee_minor) AS net_minor, count(*) AS lines
            FROM stripe_transactions GROUP BY 1, 2
        ) AS s ON s.day = d.day AND s.currency = d.currency
        WHERE (d.net_minor, d.lines) IS DISTINCT FROM (s.net_minor, s.lines)
        ORDER BY 1 LIMIT 100
        """
    ),
    "a captured payment is not booked to the cent": Sql(
        """
        SELECT p.id FROM payments p
        LEFT JOIN journals j ON j.payment_id = p.id AND j.kind IN ('charge', 'unapplied_charge')
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        GROUP BY p.id
        HAVING p.captured_minor <> coalesce(sum(e.amount_minor), 0)
            OR count(DISTINCT j.id) <> (p.captured_minor > 0)::int
        ORDER BY p.id LIMIT 100
        """
    ),
    "a payment's fee is not booked to the cent": Sql(
        """
        SELECT p.id FROM payments p
        LEFT JOIN journals j ON j.payment_id = p.id AND j.kind = 'stripe_fee'
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        GROUP BY p.id
        HAVING coalesce(p.fee_minor, 0) <> -coalesce(sum(e.amount_minor), 0)
        ORDER BY p.id LIMIT 100
        """
    ),
    "what counts as refunded is not the sum of the refunds": Sql(
        """
        SELECT p.id FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id AND r.status <> 'failed'
        GROUP BY p.id
        HAVING p.refunded_minor <> coalesce(sum(r.amount_minor), 0) OR p.refunded_minor > p.captured_minor
        ORDER BY p.id LIMIT 100
        """
    ),
    "a refund is not booked to the cent": Sql(
        """
        SELECT r.id FROM refunds r
        LEFT JOIN journals j ON j.payment_id = r.payment_id AND j.source = r.stripe_refund_id
            AND j.kind IN ('refund', 'unapplied_refund', 'refund_failed')
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        GROUP BY r.id
        HAVING coalesce(sum(e.amount_minor), 0) <> CASE WHEN r.is_booked THEN -r.amount_minor ELSE 0 END
            OR (r.status = 'succeeded') > r.is_booked
        ORDER BY r.id LIMIT 100
        """
    ),
    "a refund's journal has no refund": Sql(
        """
        SELECT j.id FROM journals j LEFT JOIN refunds r ON r.stripe_refund_id = j.source
        WHERE j.kind IN ('refund', 'unapplied_refund', 'refund_failed')
            AND (r.id IS NULL OR r.payment_id IS DISTINCT FROM j.payment_id)
        ORDER BY j.id LIMIT 100
        """
    ),
    "a refund's lines do not add up to it": Sql(
        """
        SELECT r.id FROM refunds r JOIN refund_lines l ON l.refund_id = r.id
        GROUP BY r.id HAVING sum(l.amount_minor) <> r.amount_minor
        ORDER BY r.id LIMIT 100
        """
    ),
    "a payout's entries do not come to its amount": Sql(
        """
        SELECT p.id FROM payouts p
        LEFT JOIN payout_entries x ON x.payout_id = p.id
        LEFT JOIN entries e ON e.journal_id = x.journal_id AND e.line = x.line
        GROUP BY p.id
        HAVING coalesce(-sum(e.amount_minor), 0) <> CASE
                WHEN p.stripe_transfer_id IS NOT NULL OR p.status = 'failed' THEN 0
                ELSE p.amount_minor + p.carried_minor END
            OR count(e.journal_id) <> count(x.journal_id)
            OR bool_or(e.account <> 'seller_payable:' || p.seller_id OR e.currency <> p.currency)
        ORDER BY p.id LIMIT 100
        """
    ),
    "a payout is not booked to the cent": Sql(
        """
        SELECT p.id FROM payouts p
        LEFT JOIN journals j ON j.kind = 'payout' AND j.source = p.stripe_transfer_id
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        GROUP BY p.id
        HAVING coalesce(-sum(e.amount_minor), 0)
            <> CASE WHEN p.stripe_transfer_id IS NULL THEN 0 ELSE p.amount_minor END
        ORDER BY p.id LIMIT 100
        """
    ),
    "what counts as taken back is not the sum of the reversals": Sql(
        """
        SELECT p.id FROM payouts p LEFT JOIN payout_reversals r ON r.payout_id = p.id AND r.status <> 'failed'
        GROUP BY p.id
        HAVING p.reversed_minor <> coalesce(sum(r.amount_minor), 0) OR p.reversed_minor > p.amount_minor
        ORDER BY p.id LIMIT 100
        """
    ),
    "a reversal is not booked to the cent": Sql(
        """
        SELECT r.id FROM payout_reversals r
        LEFT JOIN journals j ON j.kind = 'payout_reversed' AND j.source = r.stripe_reversal_id
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        GROUP BY r.id
        HAVING coalesce(sum(e.amount_minor), 0) <> CASE WHEN r.status = 'succeeded' THEN r.amount_minor ELSE 0 END
        ORDER BY r.id LIMIT 100
        """
    ),
    "a transfer's journal has no payout": Sql(
        """
        SELECT j.id FROM journals j
        WHERE (j.kind = 'payout' AND NOT EXISTS (SELECT FROM payouts p WHERE p.stripe_transfer_id = j.source))
            OR (j.kind = 'payout_reversed' AND NOT EXISTS (
                SELECT FROM payout_reversals r WHERE r.stripe_reversal_id = j.source))
        ORDER BY j.id LIMIT 100
        """
    ),
    "an entry is open below the floor of its seller": Sql(
        """
        SELECT e.journal_id FROM payout_floors f
        JOIN entries e ON e.account = 'seller_payable:' || f.seller_id AND e.journal_id < f.journal_id
        LEFT JOIN payout_entries x ON x.journal_id = e.journal_id AND x.line = e.line
        LEFT JOIN payouts t ON t.id = x.payout_id
        WHERE x.journal_id IS NULL OR t.status IN ('pending', 'processing', 'unknown')
        ORDER BY e.journal_id LIMIT 100
        """
    ),
    "what no payout takes of a payment does not come to nothing": Sql(
        """
        SELECT coalesce(j.payment_id, x.journal_id) FROM payout_entries x
        LEFT JOIN entries e ON e.journal_id = x.journal_id AND e.line = x.line
        LEFT JOIN journals j ON j.id = x.journal_id
        WHERE x.payout_id IS NULL
        GROUP BY coalesce(j.payment_id, x.journal_id), e.account, e.currency
        HAVING sum(e.amount_minor) IS DISTINCT FROM 0
        ORDER BY 1 LIMIT 100
        """
    ),
    "a dispute's money is not booked to the cent": Sql(
        """
        SELECT d.id FROM disputes d
        LEFT JOIN journals j ON j.payment_id = d.payment_id AND j.source = ANY(d.transaction_ids)
            AND j.kind IN ('dispute_opened', 'dispute_won', 'dispute_lost')
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account IN ('stripe_balance', 'disputed_funds')
        GROUP BY d.id
        HAVING coalesce(sum(e.amount_minor) FILTER (WHERE e.account = 'stripe_balance'), 0)
                <> CASE WHEN d.funds IN ('withdrawn', 'lost') THEN -d.withdrawn_minor ELSE 0 END
            OR coalesce(sum(e.amount_minor) FILTER (WHERE e.account = 'disputed_funds'), 0)
                <> CASE WHEN d.funds = 'withdrawn' THEN d.withdrawn_minor ELSE 0 END
        ORDER BY d.id LIMIT 100
        """
    ),
    "a dispute's journal has no dispute": Sql(
        """
        SELECT j.id FROM journals j
        WHERE j.kind IN ('dispute_opened', 'dispute_fee', 'dispute_won', 'dispute_lost') AND NOT EXISTS (
            SELECT FROM disputes d WHERE d.payment_id = j.payment_id AND j.source = ANY(d.transaction_ids))
        ORDER BY j.id LIMIT 100
        """
    ),
    "more is held of sellers than their disputes took": Sql(
        """
        SELECT currency FROM entries
        WHERE account = 'disputed_funds' OR account LIKE 'seller_disputed:%'
        GROUP BY currency HAVING sum(amount_minor) < 0
        ORDER BY currency LIMIT 100
        """
    ),
    "an exchange is not booked on both sides": Sql(
        """
        SELECT j.id FROM journals j
        LEFT JOIN conversions c ON c.journal_id = j.id
        LEFT JOIN entries e ON e.journal_id = j.id AND e.account = 'stripe_balance'
        LEFT JOIN journals o ON o.kind = 'conversion_settled' AND o.source = j.source
        LEFT JOIN entries s ON s.journal_id = o.id AND s.account = 'stripe_balance'
        WHERE j.kind = 'conversion_charged' AND (
            c.journal_id IS NULL OR c.from_minor IS DISTINCT FROM -e.amount_minor
            OR c.to_minor IS DISTINCT FROM s.amount_minor OR c.to_currency IS DISTINCT FROM o.currency
            OR c.from_currency <> j.currency)
        UNION ALL
        SELECT o.id FROM journals o
        WHERE o.kind = 'conversion_settled' AND NOT EXISTS (
            SELECT FROM journals j WHERE j.kind = 'conversion_charged' AND j.source = o.source)
        ORDER BY 1 LIMIT 100
        """
    ),
    "a paid order and its captured payments disagree": Sql(
        """
        SELECT o.id FROM orders o LEFT JOIN payments p ON p.order_id = o.id AND p.status = 'succeeded'
        GROUP BY o.id
        HAVING count(p.id) <> (o.status IN ('paid', 'shipped', 'completed', 'refunded', 'disputed'))::int
        ORDER BY o.id LIMIT 100
        """
    ),
}
