"""A local folder as Hugging Face's libraries save it, or as their cache keeps it."""

import re
from dataclasses import dataclass
from pathlib import Path

from trainer.sources.source import model_name

_CACHED = re.compile(r"models--(?P<repository>.+)/snapshots/(?P<revision>[0-9a-f]{40})")


@dataclass(frozen=True, slots=True)
class HuggingFaceFolder:
    """A source that is a folder of safetensors already."""

    path: Path

    @property
    def name(self) -> str:
        """See Source. A snapshot in the cache is called as its repository, and not by its hash."""
        repository, _ = self._repository()
        return model_name(repository.rpartition("/")[2])

    @property
    def origin(self) -> str:
        """See Source."""
        repository, revision = self._repository()
        return f"folder {repository}" + (f" at revision {revision}" if revision else "")

    def prepare(self, scratch: Path) -> Path:
        """Returns the folder as it is."""
        return self.path

    def _repository(self) -> tuple[str, str | None]:
        path = self.path.resolve()
        if match := _CACHED.fullmatch("/".join(path.parts[-3:])):
            return match["repository"].replace("--", "/"), match["revision"]
        return path.name, None
