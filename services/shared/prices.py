"""The section `prices` of tidegate.yaml: what usage reports charge."""

from pydantic import Field

from services.shared.strict_model import Strict
from services.shared.tier import Tier


class Price(Strict):
    """Prices for a million tokens, in the currency of the price list."""

    prompt: float = Field(ge=0, le=1_000_000, description="Price of a million prompt tokens.")
    cached: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Price of a million prompt tokens that came from the prefix cache. Default: the price of prompt"
        " tokens.",
    )
    completion: float = Field(ge=0, le=1_000_000, description="Price of a million completion tokens.")


class ModelPrice(Price):
    """Prices of one model."""

    tiers: dict[Tier, Price] = Field(
        default_factory=dict, description="Prices of tiers that differ, by the name of the tier."
    )


class Prices(Strict):
    """The price list of usage reports. A model that is not listed has no cost."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency of all prices, as three letters.")
    models: dict[str, ModelPrice] = Field(
        default_factory=dict, description="Prices by the name that clients put into `model`."
    )
