"""The settings that each of our processes reads, by the module that is run."""

from services.gateway.settings import GatewaySettings
from services.router.settings import RouterSettings
from services.shared.settings import Settings, read
from services.worker.settings import FollowerSettings, WorkerSettings
from trainer.settings import TrainerSettings

SETTINGS: dict[str, type[Settings]] = {
    "services.gateway": GatewaySettings,
    "services.router": RouterSettings,
    "services.worker": WorkerSettings,
    "services.worker --follow": FollowerSettings,
    "trainer": TrainerSettings,
}


def check(module: str, environment: dict[str, str]) -> None:
    """The process would start with these variables, and reads every one of them. Raises WrongSettings."""
    kind = SETTINGS[module]
    read(kind, environment)
    known = {f"TIDEGATE_{field.upper()}" for field in kind.model_fields}
    unread = {name for name in environment if name.startswith("TIDEGATE_")} - known - {f"{name}_FILE" for name in known}
    assert not unread, f"{module} does not read {sorted(unread)}"
