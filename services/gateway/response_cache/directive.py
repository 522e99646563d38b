"""What a request says of the response cache, and what became of that: one header, over REST and gRPC alike."""

from dataclasses import dataclass
from typing import Literal

from services.shared.errors import InvalidRequest

HEADER = "x-tidegate-cache"
USE = "use"
Outcome = Literal["hit", "miss", "bypass"]


@dataclass(slots=True)
class CacheDirective:
    """To be answered from the cache. `outcome` is bypass where it may not be."""

    outcome: Outcome = "bypass"

    @classmethod
    def of(cls, said: str | None) -> "CacheDirective | None":
        """None without the header. Raises InvalidRequest."""
        if said is None:
            return None
        if said != USE:
            raise InvalidRequest(f"The header {HEADER} can only say '{USE}'.", param=HEADER, code="invalid_value")
        return cls()
