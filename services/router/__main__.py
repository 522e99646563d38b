"""Entry point of a router process: `python -m services.router`."""

from services.router.app import run
from services.router.settings import RouterSettings
from services.shared import process


def main() -> None:
    """Runs a router with the settings in the environment."""
    process.run("router", RouterSettings, run)


if __name__ == "__main__":
    main()
