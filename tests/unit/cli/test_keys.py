from typing import Any

import pytest

from services.cli.commands import keys
from services.cli.errors import CommandFailed
from services.cli.views.keys import key_row
from services.cli.views.usage import usage_row

KEY: dict[str, Any] = {
    "id": "key_1",
    "name": "laptop",
    "tenant": "acme",
    "prefix": "tg-AbCdEfG",
    "role": "inference",
    "models": None,
    "tiers": ["flex"],
    "requests_per_minute": 60,
    "tokens_per_minute": 100_000,
    "concurrency": None,
    "budget": {"tokens": 5_000_000, "period": "month"},
    "expires_at": None,
    "revoked_at": None,
}


def test_a_key_as_a_row() -> None:
    assert key_row(KEY)[3:] == (
        "tg-AbCdEfG...",
        "inference",
        "all",
        "flex",
        "60 req/min, 100,000 tok/min",
        "5,000,000 a month",
        "good",
    )
    assert key_row({**KEY, "revoked_at": 1_709_208_000})[-1] == "revoked 2024-02-29"
    assert key_row({**KEY, "expires_at": 1_709_208_000})[-1] == "expired 2024-02-29"
    assert key_row({**KEY, "expires_at": 4_102_444_800})[-1] == "until 2100-01-01"


def test_times_are_numbers_with_a_unit() -> None:
    assert [keys._seconds(text) for text in ("0s", "90s", "10m", "12h", "30d")] == [0, 90, 600, 43_200, 2_592_000]
    for wrong in ("", "30", "d", "-1d", "1 d", "1.5h", "1y"):
        with pytest.raises(CommandFailed):
            keys._seconds(wrong)


def test_usage_without_a_price_says_so() -> None:
    line = {"model": "m", "requests": 1234, "prompt_tokens": 5, "cached_tokens": 0, "completion_tokens": 7}
    assert usage_row({**line, "cost": 0.0125}, ["model"]) == ("m", "1,234", "5", "0", "7", "0.0125")
    assert usage_row({**line, "cost": None}, ["model"])[-1] == "no price"
    assert usage_row({**line, "cost": 0.0}, ["model"])[-1] == "0"
