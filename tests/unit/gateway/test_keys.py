import pytest

from services.gateway.keys import Keys
from services.gateway.settings import GatewaySettings
from services.shared.errors import Unauthenticated
from services.shared.settings import WrongSettings, read

KEYS = Keys("inference-key-of-tests", "admin-key-of-the-tests")


def test_roles() -> None:
    assert KEYS.authenticate("Bearer inference-key-of-tests").role == "inference"
    assert KEYS.authenticate("bearer admin-key-of-the-tests").role == "admin"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer nope", "Basic inference-key-of-tests", "\xff"]
)
def test_refused(header: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        KEYS.authenticate(header)
    assert "nope" not in refused.value.message


def test_wrong_settings_name_the_key_and_hide_secrets() -> None:
    environ = {
        "TIDEGATE_CONFIG": "tidegate.yaml",
        "TIDEGATE_LISTEN": "127.0.0.1:0",
        "TIDEGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TIDEGATE_ROUTERS": "nowhere",
        "TIDEGATE_API_KEY": "short",
    }
    with pytest.raises(WrongSettings) as wrong:
        read(GatewaySettings, environ)
    said = str(wrong.value)
    assert "TIDEGATE_ADMIN_KEY is not set" in said
    assert "TIDEGATE_ROUTERS" in said
    assert "nowhere" in said
    assert "short" not in said.replace("at least", "")
