"""Charges (https://docs.stripe.com/api/charges), made by intents and read here."""

from ops.stripe_sandbox.errors import no_such
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known
from ops.stripe_sandbox.sandbox import Call


def retrieve(call: Call) -> View:
    """Return a charge."""
    check_known(call.params, ("expand",))
    charge = call.books.charges.get(call.object_id)
    if charge is None:
        raise no_such("charge", call.object_id)
    return view(call, "charge", charge)


def list_all(call: Call) -> Page:
    """Return a page of charges, filtered by creation time, intent, customer and transfer group."""

    def encode(row: Obj) -> str:
        return view(call, "charge", row, inside="data.").encode()

    filters = ("payment_intent", "customer", "transfer_group")
    return page(call.books.charges, call.params, call.path, encode, filters=filters)


ROUTES = {
    "/v1/charges": {"GET": list_all},
    "/v1/charges/{object_id}": {"GET": retrieve},
}
