"""GET /v1/usage: what was used and what it costs. A key sees its own tenant, an admin key sees all."""

from collections.abc import Sequence
from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.domain.period import day_of
from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import database_errors
from services.gateway.ledger.store import LedgerStore, Span
from services.gateway.ledger.usage_report import GROUPS, columns, report
from services.shared.clock import Clock
from services.shared.errors import InvalidRequest, PermissionDenied
from services.shared.prices import Prices

DEFAULT_DAYS = 30
MAX_LINES = 10_000
FIRST_YEAR = 2000


class UsageRoutes:
    """Reports of usage and costs."""

    def __init__(self, store: LedgerStore, prices: Prices, clock: Clock) -> None:
        self._store, self._prices, self._clock = store, prices, clock

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(tags=["usage"])
        router.add_api_route("/v1/usage", self.usage, methods=["GET"])
        return router

    async def usage(
        self,
        request: Request,
        by: str = "tenant,model",
        since: str | None = None,
        until: str | None = None,
        tenant: str | None = None,
    ) -> Response:
        """Reports usage and costs.

        by: tenant, key, model, version, tier, day, with commas between. since, until: days, both included.
        """
        groups, span = _groups(by), self._span(since, until, _tenant(request, tenant))
        async with database_errors():
            used = await self._store.usage(span, columns(groups), MAX_LINES + 1)
        if len(used) > MAX_LINES:
            raise InvalidRequest(f"The report has more than {MAX_LINES} lines; ask for fewer days.", param="since")
        head = {"since": span.first, "until": span.last}
        return JSONResponse({**head, **report(used, groups, self._prices)}, headers={"cache-control": "no-store"})

    def _span(self, since: str | None, until: str | None, tenant: str | None) -> Span:
        last = _day(until, "until") if until else day_of(self._clock.wall())
        first = _day(since, "since") if since else last - timedelta(days=DEFAULT_DAYS - 1)
        return Span(first.isoformat(), last.isoformat(), tenant)


def _groups(by: str) -> Sequence[str]:
    groups = [group for group in by.split(",") if group]
    if not groups or len(set(groups)) < len(groups) or not set(groups) <= GROUPS.keys():
        raise InvalidRequest(f"'by' takes some of {', '.join(GROUPS)}, with commas between.", param="by")
    return groups


def _day(text: str, param: str) -> date:
    try:
        day = date.fromisoformat(text)
        if day.year < FIRST_YEAR:
            raise ValueError(text)
        return day
    except ValueError:
        raise InvalidRequest(f"'{param}' must be a day as YYYY-MM-DD.", param=param) from None


def _tenant(request: Request, requested: str | None) -> str | None:
    """Returns the tenant to report on; None for all tenants."""
    caller = caller_of(request)
    if requested is not None and not requested.isprintable():
        raise InvalidRequest("'tenant' is no name of a tenant.", param="tenant")
    if caller.role == "admin":
        return requested
    if requested not in (None, caller.tenant):
        raise PermissionDenied("This key sees the usage of its own tenant only.", param="tenant")
    return caller.tenant
