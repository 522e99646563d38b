from services.local.inherited import LIMITS, inherited
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings


def test_processes_get_the_environment_and_the_limits_but_no_address_or_key_of_another_cluster() -> None:
    limits = {f"TIDEGATE_{name}": "1" for name in LIMITS}
    given = {"PATH": "/bin", "TIDEGATE_S3_ENDPOINT": "http://elsewhere", "TIDEGATE_TRUSTED_KEYS": "x", **limits}
    assert inherited(given) == {"PATH": "/bin", **limits}


def test_every_limit_is_a_setting() -> None:
    known = {name.upper() for settings in (WorkerSettings, RouterSettings) for name in settings.model_fields}
    assert set(LIMITS) <= known
