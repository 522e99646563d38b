"""Usage reports: sums of the ledger with their cost by the price list of tidegate.yaml, in groups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.gateway.ledger.store import Usage
from services.shared.prices import Price, Prices

GROUPS = {"tenant": "tenant", "key": "key_id", "model": "model", "version": "version", "tier": "tier", "day": "day"}
"""What a report can be grouped by, and the ledger's name for it."""

PRICED_BY = ("model", "tier")
MILLION = Decimal(1_000_000)


@dataclass(slots=True)
class Line:
    """Usage of one group.

    Attributes:
        cost: in the price list's currency; None when any part of the usage has no price.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = Decimal(0)

    def add(self, used: Usage, cost: Decimal | None) -> None:
        """Adds usage of one model and tier with its cost."""
        self.requests += used.requests
        self.prompt_tokens += used.prompt_tokens
        self.cached_tokens += used.cached_tokens
        self.completion_tokens += used.completion_tokens
        self.cost = None if self.cost is None or cost is None else self.cost + cost

    def document(self) -> dict[str, Any]:
        """The line as the API returns it."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": None if self.cost is None else float(round(self.cost, 9)),
        }


def columns(groups: Sequence[str]) -> list[str]:
    """The ledger's columns that a report by `groups` needs, with those that decide the price."""
    return list(dict.fromkeys([*(GROUPS[group] for group in groups), *PRICED_BY]))


def report(used: Iterable[Usage], groups: Sequence[str], prices: Prices) -> dict[str, Any]:
    """The report: a line for each group, in the order of `used`, and their total."""
    lines: dict[tuple[str, ...], Line] = {}
    total = Line()
    for one in used:
        price = cost(one, prices)
        name = tuple(getattr(one, GROUPS[group]) for group in groups)
        lines.setdefault(name, Line()).add(one, price)
        total.add(one, price)
    data = [{**dict(zip(groups, name, strict=True)), **line.document()} for name, line in lines.items()]
    return {"object": "list", "currency": prices.currency, "data": data, "total": total.document()}


def cost(used: Usage, prices: Prices) -> Decimal | None:
    """The cost of usage of one model and tier, in the list's currency; None when the list does not have the model."""
    if (price := price_of(used.model, used.tier, prices)) is None:
        return None
    cached = price.prompt if price.cached is None else price.cached
    priced = (
        (used.prompt_tokens - used.cached_tokens, price.prompt),
        (used.cached_tokens, cached),
        (used.completion_tokens, price.completion),
    )
    return sum((tokens * _exact(amount) for tokens, amount in priced), Decimal(0)) / MILLION


def _exact(amount: float) -> Decimal:
    """Exactly the number that the list has."""
    return Decimal(str(amount))


def price_of(model: str, tier: str, prices: Prices) -> Price | None:
    """The price of a model in a tier. An adapter without a price of its own costs what its pool costs."""
    listed = prices.models.get(model) or prices.models.get(model.partition(":")[0])
    if listed is None:
        return None
    return next((price for name, price in listed.tiers.items() if name == tier), listed)
