"""Secrets that must never be told, and the places where they might be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import psutil

from services.local.data_folder import DataFolder
from services.local.secrets import Secrets
from tests.robustness.accounted import PASSWORD
from tests.robustness.arena import Arena
from tests.robustness.view import View

OF_THE_CLUSTER = ("api_key", "admin_key", "server_secret", "redis_password", "s3_secret_key")
KEY_LINES = slice(1, -1)
"""Of a PEM file: the key itself."""


@dataclass(slots=True)
class Planted:
    """secrets: by what they are. errors: bodies that clients were refused with."""

    secrets: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add_those_of(self, view: View) -> None:
        folder = DataFolder(view.cluster.folder / ".tidegate")
        kept = Secrets.model_validate_json(folder.secrets.read_bytes())
        self.secrets |= {name: getattr(kept, name) for name in OF_THE_CLUSTER}
        self.secrets["signing key"] = "".join(folder.signing_key.read_text().splitlines()[KEY_LINES])
        self.secrets["database password"] = PASSWORD

    def told(self, places: Mapping[str, str]) -> Iterator[str]:
        """Which of them stands where."""
        for place, text in places.items():
            for name, secret in self.secrets.items():
                if secret in text:
                    yield f"{place} tells the {name}"


async def places(arena: Arena) -> dict[str, str]:
    """What every process wrote, what it counts, and how it was called."""
    logs = (arena.view.cluster.folder / ".tidegate/logs").glob("*.log")
    found = {f"the log {log.name}": log.read_text() for log in logs}
    async with httpx.AsyncClient() as http:
        for name, address in arena.view.http.items():
            if address:
                found[f"/metrics of {name}"] = (await http.get(f"http://{address}/metrics")).text
    for name, member in arena.crew.members.items():
        found[f"the command line of {name}"] = " ".join(psutil.Process(member.pid).cmdline())
    return found
