"""/v1/batches: many requests at once, which run when there is room."""

import contextlib
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AfterValidator, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from services.gateway.batches.batch import Batch, Endpoint, mint_id
from services.gateway.batches.store import BatchStore
from services.gateway.domain.account import Caller
from services.gateway.files.file import File, check_lifetime
from services.gateway.files.store import FileStore, RandomBits
from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.request_context import RequestContext, caller_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import object_store_errors
from services.gateway.openai.fields import Hint, Metadata, Request
from services.gateway.openai.request_reader import RequestReader
from services.shared import objectstore
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.errors import Conflict, InvalidRequest, NotFound, RateLimited

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0
MAX_OPEN = 64
"""Most batches of one tenant that have not ended."""
MAX_PAGE = 100
EXAMPLE: dict[str, Any] = {
    "input_file_id": "file-0199f0b1c2d3aaaaaaaaaaaaaaaaaaaa",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


class OutputExpiry(Request):
    """When the files that a batch leaves expire, counted from when they are made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, AfterValidator(check_lifetime)]


class BatchRequest(Request):
    """Body of POST /v1/batches."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=128)]
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Hint[Metadata] = None
    output_expires_after: OutputExpiry | None = None


class BatchRoutes:
    """Batches: made, listed and cancelled."""

    def __init__(
        self, batches: BatchStore, files: FileStore, reader: RequestReader, clock: Clock, random_bits: RandomBits
    ) -> None:
        self._reader = reader
        self._batches, self._files, self._clock, self._random_bits = batches, files, clock, random_bits
        self._bodies = BodyReader(MAX_BODY_BYTES, BODY_TIMEOUT_S)

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix="/v1/batches", tags=["batches"])
        add = router.add_api_route
        router.add_json_post("", self.create, BatchRequest, EXAMPLE)
        add("", self.list_batches, methods=["GET"])
        add("/{batch_id}", self.show, methods=["GET"])
        add("/{batch_id}/cancel", self.cancel, methods=["POST"])
        return router

    async def create(self, request: HttpRequest) -> Response:
        """Makes a batch of an uploaded file."""
        body, caller = await self._bodies.read(request), caller_of(request)
        parsed = self._reader.read(BatchRequest, body, RequestContext.of(request.scope))
        caller.service_class(ServiceClass.BATCH.label)
        caller.check_budget(self._clock.wall())
        async with object_store_errors():
            await self._check(parsed, caller)
            batch = self._new(parsed, caller)
            await self._batches.create(batch)
        return JSONResponse(batch.document())

    async def list_batches(
        self, request: HttpRequest, after: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20
    ) -> Response:
        """Lists the tenant's batches, newest first."""
        async with object_store_errors():
            batches, more = await self._batches.list(caller_of(request).tenant, after=after, limit=limit)
        ends = (
            {"first_id": batches[0].id, "last_id": batches[-1].id} if batches else {"first_id": None, "last_id": None}
        )
        data = [batch.document() for batch in batches]
        return JSONResponse({"object": "list", "data": data, **ends, "has_more": more})

    async def show(self, batch_id: str, request: HttpRequest) -> Response:
        """Shows one batch."""
        async with object_store_errors():
            return JSONResponse((await self._batches.get(caller_of(request).tenant, batch_id)).batch.document())

    async def cancel(self, batch_id: str, request: HttpRequest) -> Response:
        """Cancels a batch. Results that exist stay; requests that were not answered go to the error file."""
        async with object_store_errors():
            batch = await self._batches.change(caller_of(request).tenant, batch_id, self._cancelling)
            if _untouched(batch):
                await self._end(batch)
        return JSONResponse(batch.document())

    def _cancelling(self, batch: Batch) -> Batch:
        if batch.status in ("cancelling", "cancelled"):
            return batch
        if batch.ended or batch.status == "finalizing":
            raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.", code="batch_ended")
        return batch.entered("cancelling", self._clock.wall())

    async def _end(self, batch: Batch) -> None:
        """Ends a cancelled batch that no gateway has begun, since it could wait long until one takes it."""

        def ended(now: Batch) -> Batch:
            return now.entered("cancelled", self._clock.wall()) if _untouched(now) else now

        with contextlib.suppress(objectstore.Conflict):
            if (batch := await self._batches.change(batch.tenant, batch.id, ended)).ended:
                await self._batches.close(batch)

    async def _check(self, parsed: BatchRequest, caller: Caller) -> None:
        file = await self._input(parsed.input_file_id, caller)
        if file.purpose != "batch":
            text = f"The purpose of this file is '{file.purpose}'. Upload it again with purpose 'batch'."
            raise InvalidRequest(text, param="input_file_id", code="invalid_value")
        if len([found async for found in self._batches.open_batches(caller.tenant)]) >= MAX_OPEN:
            raise RateLimited(
                f"There are {MAX_OPEN} open batches already.", code="too_many_batches", retry_after_s=60.0
            )

    async def _input(self, file_id: str, caller: Caller) -> File:
        try:
            return await self._files.get(caller.tenant, file_id)
        except NotFound as error:
            raise NotFound(error.message, param="input_file_id") from None

    def _new(self, parsed: BatchRequest, caller: Caller) -> Batch:
        now = self._clock.wall()
        return Batch(
            id=mint_id(now, self._random_bits(80)),
            tenant=caller.tenant,
            key_id=caller.key_id,
            endpoint=parsed.endpoint,
            input_file_id=parsed.input_file_id,
            created=int(now),
            metadata=parsed.metadata,
            output_lifetime_s=parsed.output_expires_after and parsed.output_expires_after.seconds,
        )


def _untouched(batch: Batch) -> bool:
    """Whether a batch is being cancelled before a gateway has begun with it. Then there is nothing to hand over."""
    return batch.status == "cancelling" and batch.owner is None and "in_progress" not in batch.reached
