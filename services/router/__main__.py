"""python -m services.router"""

from services.router.app import run
from services.router.settings import RouterSettings
from services.shared import lifecycle
from services.shared.settings import WrongSettings, read, stop
from services.shared.telemetry import configure_logging


def main() -> None:
    try:
        settings = read(RouterSettings)
        configure_logging("router", settings.log_level)
        lifecycle.run(lambda stopped: run(settings, stopped))
    except WrongSettings as error:
        stop(error)


if __name__ == "__main__":
    main()
