"""Sellers: their accounts at Stripe, and what they and the platform agreed."""
