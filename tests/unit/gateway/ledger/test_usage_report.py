from services.gateway.ledger.store import Usage
from services.gateway.ledger.usage_report import columns, report
from services.shared.prices import Prices

PRICES = Prices.model_validate(
    {
        "currency": "EUR",
        "models": {
            "m": {
                "prompt": 1.0,
                "cached": 0.1,
                "completion": 4.0,
                "tiers": {"flex": {"prompt": 0.5, "completion": 2.0}},
            }
        },
    }
)


def used(model: str, tier: str, tenant: str = "acme") -> Usage:
    return Usage("", "", tenant, model, "", tier, 2, 1_000_000, 400_000, 500_000)


def test_cached_tokens_and_tiers_have_their_own_prices() -> None:
    made = report([used("m", "default"), used("m", "flex"), used("m:fr", "default")], ("model", "tier"), PRICES)
    assert made["currency"] == "EUR"
    assert [line["cost"] for line in made["data"]] == [0.6 + 0.04 + 2.0, 0.5 + 1.0, 0.6 + 0.04 + 2.0]
    assert made["total"] == {
        "requests": 6,
        "prompt_tokens": 3_000_000,
        "cached_tokens": 1_200_000,
        "completion_tokens": 1_500_000,
        "cost": 6.78,
    }


def test_without_a_price_the_cost_is_unknown_and_not_zero() -> None:
    made = report([used("m", "default"), used("other", "default"), used("m", "flex", "b")], ("tenant",), PRICES)
    assert [(line["tenant"], line["requests"], line["cost"]) for line in made["data"]] == [
        ("acme", 4, None),
        ("b", 2, 1.5),
    ]
    assert made["total"]["cost"] is None


def test_columns_include_those_that_prices_depend_on() -> None:
    assert columns(["day", "key"]) == ["day", "key_id", "model", "tier"]
    assert columns(["model"]) == ["model", "tier"]
