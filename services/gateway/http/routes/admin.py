"""What the routes under /v1/admin have in common. `AccessMiddleware` lets only admin keys through to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.accounts.store import AccountNotFound
from services.gateway.http.connection.body import BodyReader
from services.gateway.http.routes.storage import database_errors
from services.gateway.openai import validation
from services.shared.errors import NotFound

PREFIX = "/v1/admin"
BODIES = BodyReader(max_bytes=256 * 1024, timeout_s=10.0)

TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class AdminBody(BaseModel):
    """Base of the bodies of admin requests: no coercion, and no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


B = TypeVar("B", bound=AdminBody)


async def read(request: Request, kind: type[B]) -> B:
    """Returns the validated body of an admin request. Raises what `BodyReader.read` raises, and InvalidRequest."""
    return validation.check(kind, await BODIES.read(request))


@asynccontextmanager
async def account_errors() -> AsyncIterator[None]:
    """Turns errors of the account store into errors that become the response."""
    async with database_errors():
        try:
            yield
        except AccountNotFound as unknown:
            raise NotFound(str(unknown)) from None


def private(document: dict[str, Any], status: int = 200) -> Response:
    """Returns a JSON response that no cache between gateway and client may keep."""
    return JSONResponse(document, status_code=status, headers={"cache-control": "no-store"})
