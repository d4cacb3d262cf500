"""Shipments in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from db.connection import Connection
from db.sql import Sql
from domain.ids import OrderId
from domain.orders.model import Shipment

_ADD = Sql(
    """
    INSERT INTO shipments (order_id, seller_id, carrier, tracking_number, created_at)
    VALUES (:order_id, :seller_id, :carrier, :tracking_number, :created_at)
    """
)
_OF_ORDERS = Sql(
    """
    SELECT order_id, seller_id, carrier, tracking_number, created_at FROM shipments
    WHERE order_id = ANY(:order_ids) ORDER BY order_id, created_at, seller_id
    """
)


class Shipments:
    """`domain.orders.ports.ShipmentRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, shipment: Shipment) -> None:
        """Insert a seller's shipment of a locked order."""
        await self._connection.execute(_ADD, asdict(shipment))

    async def of_orders(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, Sequence[Shipment]]:
        """Return the shipments of each of the orders, oldest first; of an order without any, none."""
        found: dict[OrderId, list[Shipment]] = {order_id: [] for order_id in order_ids}
        for row in await self._connection.execute(_OF_ORDERS, {"order_ids": list(order_ids)}):
            found[row.order_id].append(Shipment(**row._mapping))
        return found
