"""GET /v1/admin/rollouts: what happened in rollouts, for admin keys only."""

from dataclasses import asdict

from starlette.responses import Response

from services.gateway.http.routes.admin import PREFIX, private
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import database_errors
from services.gateway.rollouts.store import RolloutHistory
from services.shared.errors import InvalidRequest

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000


class RolloutRoutes:
    """The history of rollouts."""

    def __init__(self, history: RolloutHistory) -> None:
        self._history = history

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix=PREFIX, tags=["admin"])
        router.add_api_route("/rollouts", self.events, methods=["GET"])
        return router

    async def events(self, pool: str | None = None, limit: int = DEFAULT_LIMIT) -> Response:
        """Lists what happened in the rollouts of a pool, or of all pools, newest first.

        A new event is there within seconds.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit must be between 1 and {MAX_LIMIT}, not {limit}.", param="limit")
        async with database_errors():
            events = await self._history.read(pool, limit + 1)
        data = [{"object": "rollout.event", **asdict(event)} for event in events[:limit]]
        return private({"object": "list", "data": data, "has_more": len(events) > limit})
