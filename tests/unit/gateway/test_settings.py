import pytest

from services.gateway.settings import GatewaySettings
from services.shared.settings import WrongSettings, read


def test_wrong_settings_name_the_key_and_hide_secrets() -> None:
    environ = {
        "TIDEGATE_CONFIG": "tidegate.yaml",
        "TIDEGATE_LISTEN": "127.0.0.1:0",
        "TIDEGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TIDEGATE_ROUTERS": "nowhere",
        "TIDEGATE_API_KEY": "short",
        "TIDEGATE_SERVER_SECRET": "too short",
    }
    with pytest.raises(WrongSettings) as wrong:
        read(GatewaySettings, environ)
    said = str(wrong.value)
    assert "TIDEGATE_ADMIN_KEY is not set" in said
    assert "TIDEGATE_ROUTERS" in said
    assert "nowhere" in said
    assert "TIDEGATE_SERVER_SECRET = (hidden)" in said
    assert "short" not in said.replace("at least", "")
