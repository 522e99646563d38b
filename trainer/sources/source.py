"""What a model can be imported from."""

import re
from pathlib import Path
from typing import Protocol


class WrongSource(Exception):
    """The source cannot be found or read; the message says what would do."""


class Source(Protocol):
    """A place that a model can be imported from."""

    @property
    def name(self) -> str:
        """What the model is called unless the caller says otherwise."""
        ...

    @property
    def origin(self) -> str:
        """Where it comes from, for people; no path of this machine."""
        ...

    def prepare(self, scratch: Path) -> Path:
        """Returns a folder of safetensors, config.json and tokenizer files: `scratch`, or the source itself.

        Raises WrongSource.
        """
        ...


def model_name(text: str) -> str:
    """`text` as a registry name: small letters, digits, '.', '_' and '-', at most 63."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:63] or "model"
