"""What a worker tells the router of its adapters."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AdapterReport:
    """The adapters of a worker at one moment.

    Attributes:
        names: Adapters that it serves.
        loaded: Version of each adapter in the engine's memory, by name. While one version replaces another, the one
            that new requests get.
        refused: Why an adapter, or its newest version, is not served, by name.
    """

    names: tuple[str, ...] = ()
    loaded: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
