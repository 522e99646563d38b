"""What usage costs, by the price list of tidegate.yaml."""

from decimal import Decimal

from services.gateway.ledger.store import Usage
from services.shared.config import Price, Prices

MILLION = Decimal(1_000_000)


def cost(used: Usage, prices: Prices) -> Decimal | None:
    """In the list's currency; None when the list does not have the model. Wants usage of one model and tier."""
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
    """As it was written in the list."""
    return Decimal(str(amount))


def price_of(model: str, tier: str, prices: Prices) -> Price | None:
    """An adapter without a price of its own costs what its pool does."""
    listed = prices.models.get(model) or prices.models.get(model.partition(":")[0])
    if listed is None:
        return None
    return next((price for name, price in listed.tiers.items() if name == tier), listed)
