"""The demo: customers of a small market, from the search to the parcel, and the books laid beside Stripe's."""

from ops.demo.play import run

__all__ = ["run"]
