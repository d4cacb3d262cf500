"""Reconciliation: our ledger and Stripe's record of our balance, line by line, until every cent is explained."""
