"""tidegate_gateway_ledger_*: rows that were written, and what waits on disk for the database."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class LedgerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = Counter(
            "tidegate_gateway_ledger_rows_written_total", "Rows that are in the database now", registry=registry
        )
        self.spooled = Gauge(
            "tidegate_gateway_ledger_rows_spooled",
            "Rows on disk that the database does not have yet",
            registry=registry,
        )
        self.dropped = Counter(
            "tidegate_gateway_ledger_rows_dropped_total", "Rows that neither disk nor database took", registry=registry
        )
