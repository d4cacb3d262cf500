"""`/v1/reconciliations`: our ledger against Stripe's record, for finance."""
