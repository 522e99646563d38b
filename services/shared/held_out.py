"""A short text that no model was trained on: its loss tells what another precision of the weights costs."""

from pathlib import Path


def passages() -> list[str]:
    """The passages of the text, each of some 80 tokens."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    return [passage.strip() for passage in text.split("\n\n")]
