"""/v1/files: files that clients upload, such as the input of batches, and the output files of batches."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.gateway.files.file import MAX_LIFETIME_S, MIN_LIFETIME_S, UPLOAD_PURPOSES, UploadPurpose, check_lifetime
from services.gateway.files.store import FileStore
from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.connection.upload import Form, copy_to, uploaded
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import object_store_errors
from services.shared.errors import InvalidRequest, Overloaded
from services.shared.scratch import scratch

MAX_UPLOADS = 4
MAX_WAITING = 64
"""Most uploads that wait for their turn; meanwhile their bytes wait in their sockets."""
MAX_PAGE = 100
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
"""How clients write the fields of an object in a form."""

UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JSON lines for batches"},
                        "purpose": {"type": "string", "enum": list(UPLOAD_PURPOSES)},
                        ANCHOR: {"type": "string", "enum": ["created_at"]},
                        SECONDS: {"type": "integer", "minimum": MIN_LIFETIME_S, "maximum": MAX_LIFETIME_S},
                    },
                }
            }
        },
    }
}


class FileRoutes:
    """Files: uploaded, listed, downloaded and deleted."""

    def __init__(self, files: FileStore, *, max_bytes: int, timeout_s: float) -> None:
        self._files, self._max_bytes, self._timeout_s = files, max_bytes, timeout_s
        self._uploads = 0
        self._slots = asyncio.Semaphore(MAX_UPLOADS)

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix="/v1/files", tags=["files"])
        add = router.add_api_route
        add("", self.upload, methods=["POST"], openapi_extra=UPLOAD)
        add("", self.list_files, methods=["GET"])
        add("/{file_id}", self.show, methods=["GET"])
        add("/{file_id}", self.delete, methods=["DELETE"])
        add("/{file_id}/content", self.content, methods=["GET"])
        return router

    async def upload(self, request: Request) -> Response:
        """Uploads a file."""
        if self._uploads >= MAX_UPLOADS + MAX_WAITING:
            raise Overloaded("Too many uploads are under way. Please try again.", retry_after_s=1.0)
        self._uploads += 1
        try:
            async with self._slots:
                return JSONResponse(await self._take(request))
        finally:
            self._uploads -= 1

    async def list_files(
        self,
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = MAX_PAGE,
        order: Literal["asc", "desc"] = "desc",
        purpose: str | None = None,
    ) -> Response:
        """Lists the tenant's files. A page has at most 100, even if more are asked for."""
        async with object_store_errors():
            files, more = await self._files.list(
                caller_of(request).tenant,
                after=after,
                limit=min(limit, MAX_PAGE),
                newest_first=order == "desc",
                purpose=purpose,
            )
        data = [file.document() for file in files]
        ends = {"first_id": files[0].id, "last_id": files[-1].id} if files else {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": data, **ends, "has_more": more})

    async def show(self, file_id: str, request: Request) -> Response:
        """Shows what is known of a file."""
        async with object_store_errors():
            return JSONResponse((await self._files.get(caller_of(request).tenant, file_id)).document())

    async def delete(self, file_id: str, request: Request) -> Response:
        """Deletes a file."""
        async with object_store_errors():
            await self._files.delete(caller_of(request).tenant, file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    async def content(self, file_id: str, request: Request) -> Response:
        """Downloads a file."""
        async with object_store_errors():
            pieces = await self._files.content(caller_of(request).tenant, file_id)
            first = await anext(pieces, b"")
        return StreamingResponse(_with(first, pieces), media_type="application/octet-stream")

    async def _take(self, request: Request) -> dict[str, Any]:
        async with uploaded(request, max_bytes=self._max_bytes, timeout_s=self._timeout_s) as form:
            purpose, lifetime_s = _purpose(form), _lifetime_s(form)
            with scratch("upload") as folder:
                content = folder / "content"
                size = await copy_to(form.file, content)
                tenant = caller_of(request).tenant
                async with object_store_errors():
                    await self._files.check_room(tenant)
                    file = await self._files.save(tenant, form.filename, purpose, content, size, lifetime_s=lifetime_s)
        return file.document()


def _purpose(form: Form) -> UploadPurpose:
    given = form.fields.get("purpose")
    if given is None:
        raise _missing("purpose")
    for purpose in UPLOAD_PURPOSES:
        if given == purpose:
            return purpose
    raise _wrong("purpose", f"must be one of {', '.join(map(repr, UPLOAD_PURPOSES))}")


def _lifetime_s(form: Form) -> int | None:
    """Returns after how many seconds the file expires; None if it never does."""
    given = {name: value for name, value in form.fields.items() if name.startswith("expires_after")}
    if not given:
        return None
    if unknown := given.keys() - {ANCHOR, SECONDS}:
        raise _wrong(min(unknown)[:64], f"write the expiry as '{ANCHOR}' and '{SECONDS}'")
    for name in (ANCHOR, SECONDS):
        if name not in given:
            raise _missing(name)
    if given[ANCHOR] != "created_at":
        raise _wrong(ANCHOR, "must be 'created_at'")
    if not re.fullmatch(r"[0-9]{1,9}", given[SECONDS]):
        raise _wrong(SECONDS, "must be an integer")
    try:
        return check_lifetime(int(given[SECONDS]))
    except ValueError as error:
        raise _wrong(SECONDS, str(error)) from None


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _wrong(param: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': {text}.", param=param, code="invalid_value")


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Puts the first piece back: it was read before the status was sent, so that a missing store becomes a status."""
    yield first
    async for piece in rest:
        yield piece
