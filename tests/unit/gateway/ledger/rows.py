"""Rows for tests."""

from services.gateway.ledger.entry import Row


def begun(number: int) -> Row:
    return Row(f"chatcmpl-{number:032x}", 1_790_000_000.5, "acme", "key_1", "m", "auto", "default")


def ended(number: int, **changes: object) -> Row:
    facts = {"version": "v", "outcome": "completed", "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 3}
    row = begun(number)
    return Row(row.request_id, row.accepted, "acme", "key_1", "m", "auto", "default", **{**facts, **changes})  # type: ignore[arg-type]
