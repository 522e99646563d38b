"""What is to be measured: a model under a name, with the settings of its engine."""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.shared.settings import WrongSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Choice:
    """One model.

    Attributes:
        name: What its row, its pool and its model in the registry are called.
        source: What `tidegate models import` takes.
        engine: Keys of the pool's engine, as in tidegate.yaml.
    """

    name: str
    source: str
    engine: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """From NAME=MODEL[,KEY=VALUE...], as on the command line.

        Raises:
            WrongSettings: It is not of that form.
        """
        named, *settings = text.split(",")
        name, _, source = named.partition("=")
        if not _NAME.fullmatch(name) or not source:
            raise WrongSettings(
                f"MODELS = {text!r}: expected is NAME=MODEL, or NAME=MODEL,KEY=VALUE with keys of the pool's engine. "
                "A name has small letters, digits, '.', '_' and '-'"
            )
        return cls(name, source, dict(_setting(text, each) for each in settings))

    def config(self) -> str:
        """The configuration of a cluster that serves this model alone."""
        pool = {"name": self.name, "model": self.name, "engine": {"kind": "vllm", **self.engine}}
        return yaml.safe_dump({"pools": [pool]}, sort_keys=False)


def choices(texts: list[str]) -> list[Choice]:
    """All that are named on the command line.

    Raises:
        WrongSettings: One is not of the form, or two have the same name.
    """
    found = [Choice.parse(text) for text in texts]
    names = [choice.name for choice in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongSettings(f"MODELS: {', '.join(twice)} is there more than once; each row needs a name of its own")
    return found


def _setting(whole: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = None
    if not key or not equals or read is None:
        raise WrongSettings(f"MODELS = {whole!r}: {text!r} is not KEY=VALUE")
    return key, read
