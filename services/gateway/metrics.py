"""The gateway's metrics. Label values come from the catalog, the code and the status table, never from clients."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.shared.counting import Children
from services.shared.prices import Prices

LATENCY_S = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
TPOT_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)

UNKNOWN_MODEL = "unknown"
_OF_AN_ANSWER = ("model", "pool", "service_class")


def show_prices(prices: Prices, registry: CollectorRegistry) -> None:
    """Exports the price list, so that dashboards can tell what tokens are worth."""
    gauge = Gauge(
        "tidegate_gateway_price", "Price of a million tokens", ["model", "tier", "kind", "currency"], registry=registry
    )
    for model, of_model in prices.models.items():
        for tier, price in {"default": of_model, **of_model.tiers}.items():
            cached = price.prompt if price.cached is None else price.cached
            for kind, value in (("prompt", price.prompt), ("cached", cached), ("completion", price.completion)):
                gauge.labels(model, tier, kind, prices.currency).set(value)


class Metrics:
    """Counters and histograms of requests; other parts of the gateway register their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "llm_requests_total", "Requests that were answered, by final status", ["model", "status"], registry=registry
        )
        self.latency = Histogram(
            "llm_request_latency_seconds", "From request to last byte", ["model"], buckets=LATENCY_S, registry=registry
        )
        self.tokens = Counter("llm_tokens_generated_total", "Tokens generated", ["model"], registry=registry)
        self.open_requests = Gauge(
            "tidegate_gateway_open_requests", "Requests accepted and not yet answered", registry=registry
        )
        self.ttft = Histogram(
            "tidegate_gateway_ttft_seconds", "Time to first token", _OF_AN_ANSWER, buckets=TTFT_S, registry=registry
        )
        self.ttft_late = Counter(
            "tidegate_gateway_ttft_late_total",
            "First tokens that came later than the objective of their class",
            _OF_AN_ANSWER,
            registry=registry,
        )
        self.tpot = Histogram(
            "tidegate_gateway_tpot_seconds",
            "Mean time per token of a choice after the first, in answers that are complete",
            _OF_AN_ANSWER,
            buckets=TPOT_S,
            registry=registry,
        )
        self.resume_gap = Histogram(
            "tidegate_gateway_resume_gap_seconds",
            "From the loss of a worker in the middle of an answer to the next token",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        self.retries = Counter(
            "tidegate_gateway_retries_total", "Attempts given to another worker", ["reason"], registry=registry
        )
        self.ignored_fields = Counter(
            "tidegate_gateway_ignored_fields_total",
            "Requests of which a field was left out, by its name if that is known",
            ["field"],
            registry=registry,
        )

        self._requests, self._latency = Children(self.requests), Children(self.latency)
        self._tokens, self._ttft = Children(self.tokens), Children(self.ttft)
        self._ttft_late, self._tpot = Children(self.ttft_late), Children(self.tpot)
        self._ignored_fields = Children(self.ignored_fields)

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Counts an answered request.

        Args:
            model: an id of the catalog, or UNKNOWN_MODEL.
            status: of HTTP.
            seconds: from the request to the last byte.
        """
        self._requests[model, str(status)].inc()
        self._latency[model].observe(seconds)

    def left_out(self, fields: Iterable[str]) -> None:
        """Counts the fields that were left out of a request. fields: each name once; they come from the code."""
        for name in fields:
            self._ignored_fields[name].inc()

    def began(self, of: tuple[str, str, str], seconds: float, objective_s: float) -> None:
        """Notes the time to a request's first token.

        Args:
            of: model, pool and class.
            seconds: from the request to the token.
            objective_s: of the class.
        """
        self._ttft[of].observe(seconds)
        # An alert can see a counter grow, but not a counter that appears: each one exists from the first answer on.
        late = self._ttft_late[of]
        if seconds > objective_s:
            late.inc()

    def paced(self, of: tuple[str, str, str], seconds_a_token: float) -> None:
        """Notes the mean time per token after the first. `of`: model, pool and class."""
        self._tpot[of].observe(seconds_a_token)

    def generated(self, model: str, tokens: int) -> None:
        """Counts the tokens of a request that has ended."""
        self._tokens[model].inc(tokens)
