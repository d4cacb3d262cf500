"""`/v1/webhook-endpoints` and `/v1/deliveries`."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.operations import operation
from api.rendering import render
from api.webhooks.schemas import (
    DeliveryAnswer,
    DeliveryPage,
    DeliveryQuery,
    EndpointQuery,
    RedeliveryAnswer,
    RedeliveryBody,
    SecretBody,
    WebhookEndpointAnswer,
    WebhookEndpointBody,
    WebhookEndpointPage,
    WebhookEndpointWithSecret,
)
from domain.ids import DeliveryId, UserId, WebhookEndpointId
from domain.notifications.endpoints import EndpointService
from domain.notifications.redelivery import RedeliveryService

_TAG = "results"


class WebhookEndpoints:
    """The webhook endpoints."""

    def __init__(self, endpoints: EndpointService, redeliveries: RedeliveryService) -> None:
        """Keep the services."""
        self._endpoints = endpoints
        self._redeliveries = redeliveries

    @operation(
        "Create a webhook endpoint",
        _TAG,
        WebhookEndpointWithSecret,
        status=HTTPStatus.CREATED,
        body=WebhookEndpointBody,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Create an endpoint of the caller."""
        body: WebhookEndpointBody = req.context.body
        endpoint, secret = await self._endpoints.create(req.context.principal, body.url, body.events)
        render(resp, WebhookEndpointWithSecret.revealing(endpoint, secret), HTTPStatus.CREATED)
        resp.set_header("Location", f"/v1/webhook-endpoints/{endpoint.id}")

    @operation(
        "List one's webhook endpoints, or for admins anybody's", _TAG, WebhookEndpointPage, query=EndpointQuery
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """List endpoints, newest first."""
        query: EndpointQuery = req.context.query
        user_id = UserId(query.user_id) if query.user_id else None
        page = await self._endpoints.page(req.context.principal, query.request(), user_id=user_id)
        render(resp, WebhookEndpointPage.of(page, WebhookEndpointAnswer.of))

    @operation("Get a webhook endpoint", _TAG, WebhookEndpointAnswer)
    async def on_get_one(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Get an endpoint."""
        endpoint = await self._endpoints.get(req.context.principal, WebhookEndpointId(endpoint_id))
        render(resp, WebhookEndpointAnswer.of(endpoint))

    @operation("Delete a webhook endpoint", _TAG, status=HTTPStatus.NO_CONTENT)
    async def on_delete_one(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Delete an endpoint."""
        await self._endpoints.delete(req.context.principal, WebhookEndpointId(endpoint_id))
        resp.status = int(HTTPStatus.NO_CONTENT)

    @operation(
        "Give a webhook endpoint a new secret",
        _TAG,
        WebhookEndpointWithSecret,
        body=SecretBody,
        optional_body=True,
    )
    async def on_post_secret(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Rotate an endpoint's secret."""
        body: SecretBody = req.context.body
        endpoint, secret = await self._endpoints.rotate(
            req.context.principal, WebhookEndpointId(endpoint_id), overlap_s=body.overlap_s
        )
        render(resp, WebhookEndpointWithSecret.revealing(endpoint, secret))

    @operation("Bring a disabled webhook endpoint back", _TAG, WebhookEndpointAnswer)
    async def on_post_activation(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Activate an endpoint."""
        endpoint = await self._endpoints.activate(req.context.principal, WebhookEndpointId(endpoint_id))
        render(resp, WebhookEndpointAnswer.of(endpoint))

    @operation("List the deliveries to a webhook endpoint", _TAG, DeliveryPage, query=DeliveryQuery)
    async def on_get_deliveries(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """List an endpoint's deliveries, the newest event first."""
        query: DeliveryQuery = req.context.query
        page = await self._endpoints.deliveries(
            req.context.principal, WebhookEndpointId(endpoint_id), query.request(), status=query.status
        )
        render(resp, DeliveryPage.of(page, DeliveryAnswer.of))

    @operation(
        "Send named events, or those of a span of time, again",
        _TAG,
        RedeliveryAnswer,
        status=HTTPStatus.ACCEPTED,
        body=RedeliveryBody,
    )
    async def on_post_redeliveries(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Redeliver events, with what the endpoint missed while it was disabled."""
        body: RedeliveryBody = req.context.body
        caller, key = req.context.principal, WebhookEndpointId(endpoint_id)
        if body.since is None:
            asked = await self._redeliveries.send_events(caller, key, body.named())
        else:
            asked = await self._redeliveries.send_span(
                caller, key, body.since, body.until, only_failed=body.only_failed, after=body.after()
            )
        render(resp, RedeliveryAnswer.of(asked), HTTPStatus.ACCEPTED)


class Deliveries:
    """The deliveries."""

    def __init__(self, redeliveries: RedeliveryService) -> None:
        """Keep the service."""
        self._redeliveries = redeliveries

    @operation("Send a delivery again", _TAG, DeliveryAnswer, status=HTTPStatus.ACCEPTED)
    async def on_post_retry(self, req: Request, resp: Response, delivery_id: UUID) -> None:
        """Retry a delivery now, whatever became of it."""
        delivery = await self._redeliveries.retry(req.context.principal, DeliveryId(delivery_id))
        render(resp, DeliveryAnswer.of(delivery), HTTPStatus.ACCEPTED)
