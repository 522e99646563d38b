"""Wires accounts, ledger and stored responses with their database."""

from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry

from services.gateway.accounts.administration import Administration
from services.gateway.accounts.api_keys import ApiKeys
from services.gateway.accounts.authentication import Authentication, KeyCache
from services.gateway.accounts.store import AccountStore
from services.gateway.database.engine import Database
from services.gateway.domain.secrets import ServerSecret
from services.gateway.ledger.ledger import Ledger, LedgerMetrics
from services.gateway.ledger.store import LedgerStore
from services.gateway.rollouts.store import RolloutHistory
from services.gateway.settings import GatewaySettings
from services.gateway.stored_responses.bounds import Bounds
from services.gateway.stored_responses.cipher import Cipher
from services.gateway.stored_responses.expiry import ResponseSweep
from services.gateway.stored_responses.store import StoredResponses
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from services.shared.settings import WrongSettings


class Accounting:
    """Everything that uses the database: authentication, administration and the ledger."""

    def __init__(self, settings: GatewaySettings, registry: CollectorRegistry, *, clock: Clock, random: Random) -> None:
        """Raises WrongSettings for a database or a folder that cannot be used."""
        self._database = Database(_database_url(settings), clock=clock, random=random)
        self._tasks, self._clock = Tasks(), clock
        api_keys = ApiKeys(ServerSecret(settings.server_secret.get_secret_value()), random)
        accounts, rows = AccountStore(self._database), LedgerStore(self._database)
        by_digest, by_id = KeyCache(accounts.find, clock), KeyCache(accounts.find_id, clock)
        self.authentication = Authentication(
            settings.api_key.get_secret_value(),
            settings.admin_key.get_secret_value(),
            api_keys,
            by_digest,
            by_id,
            clock,
        )
        self.ledger = _ledger(settings, rows, LedgerMetrics(registry), clock, random)
        self.administration = Administration(accounts, api_keys, (by_digest, by_id), clock)
        self.usage_rows = rows
        self.rollouts = RolloutHistory(self._database, settings.rollout_events_per_pool)
        self.responses = _responses(settings, self._database, clock)

    async def start(self) -> None:
        """Starts the background work. The database need not be reachable."""
        self._tasks.start(self._database.run(), "database migration")
        self._tasks.start(self.ledger.run(), "ledger")
        if self.responses:
            self._tasks.start(ResponseSweep(self.responses, self._clock).run(), "expired responses")

    async def stop(self) -> None:
        """Writes what the ledger still has. Call this when all requests have ended."""
        await self._tasks.stop()
        await self.ledger.stop()
        await self._database.close()


def _ledger(
    settings: GatewaySettings, rows: LedgerStore, metrics: LedgerMetrics, clock: Clock, random: Random
) -> Ledger:
    root = settings.data_dir / "ledger"
    try:
        return Ledger(root, rows, metrics, max_bytes=settings.ledger_spool_bytes, clock=clock, random=random)
    except OSError as error:
        raise WrongSettings(f"TIDEGATE_DATA_DIR = {settings.data_dir}: {error.strerror or error}") from None


def _responses(settings: GatewaySettings, database: Database, clock: Clock) -> StoredResponses | None:
    if not settings.responses_stored:
        return None
    key = settings.responses_key.get_secret_value() if settings.responses_key else None
    bounds = Bounds(settings.responses_lifetime_s, settings.responses_per_tenant, settings.responses_tenant_bytes)
    return StoredResponses(database, Cipher(key), bounds, clock)


def _database_url(settings: GatewaySettings) -> str:
    if settings.database_url:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{Path(settings.data_dir).absolute() / 'gateway.sqlite3'}"
