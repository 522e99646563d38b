from pathlib import Path

import pytest
from pydantic import Field

from services.shared.objectstore import StoreSettings
from services.shared.settings import Addresses, ProcessSettings, Settings, WrongSettings, read, split, stop

BASE = {
    "TIDEGATE_CONFIG": "tidegate.yaml",
    "TIDEGATE_LISTEN": "127.0.0.1:0",
    "TIDEGATE_HTTP_LISTEN": "[::1]:8080",
}


class Example(Settings):
    routers: Addresses = Field(description="host:port of the routers")
    api_key: str = Field("k" * 8, min_length=8)
    limit: int = 3


def test_a_file_may_hold_the_value(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k" * 20 + "\n")
    settings = read(Example, {"TIDEGATE_ROUTERS": "a:1", "TIDEGATE_API_KEY_FILE": str(file)})
    assert settings.api_key == "k" * 20


def test_a_wrong_file_is_named_and_its_content_is_not(tmp_path: Path) -> None:
    file = tmp_path / "key"
    environ = {"TIDEGATE_ROUTERS": "a:1", "TIDEGATE_API_KEY_FILE": str(file)}

    def said(**variables: str) -> str:
        with pytest.raises(WrongSettings) as wrong:
            read(Example, environ | variables)
        return str(wrong.value)

    assert said() == f"TIDEGATE_API_KEY_FILE = {file}: No such file or directory"
    file.write_bytes(b"\xff\xfe")
    assert said() == f"TIDEGATE_API_KEY_FILE = {file}: it is no text in UTF-8"
    file.write_text("x" * 70_000)
    assert "it has more than 65536 characters" in said()
    file.write_text("short")
    assert said() == "TIDEGATE_API_KEY = (hidden): String should have at least 8 characters"
    both = said(TIDEGATE_API_KEY="k" * 8)
    assert both == "TIDEGATE_API_KEY and TIDEGATE_API_KEY_FILE are both set: leave one out"


def test_fields_are_read_from_their_variables() -> None:
    settings = read(Example, {"TIDEGATE_ROUTERS": "a:1,b:2", "TIDEGATE_LIMIT": "7", "TIDEGATE_OTHER": "ignored"})
    assert settings.routers == ("a:1", "b:2")
    assert settings.limit == 7


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "TIDEGATE_ROUTERS is not set: host:port of the routers"),
        ({"TIDEGATE_ROUTERS": "a"}, "TIDEGATE_ROUTERS"),
        ({"TIDEGATE_ROUTERS": "a:1,"}, "TIDEGATE_ROUTERS"),
        ({"TIDEGATE_ROUTERS": "a:1", "TIDEGATE_LIMIT": "many"}, "TIDEGATE_LIMIT = 'many'"),
    ],
)
def test_wrong_values_are_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read(Example, environ)
    assert said in str(wrong.value)


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(WrongSettings) as wrong:
        read(StoreSettings, {})
    assert len(str(wrong.value).splitlines()) == 3


def test_secrets_do_not_show() -> None:
    with pytest.raises(WrongSettings) as wrong:
        read(Example, {"TIDEGATE_ROUTERS": "a:1", "TIDEGATE_API_KEY": "geheim"})
    assert "geheim" not in str(wrong.value)
    assert "TIDEGATE_API_KEY = (hidden)" in str(wrong.value)


def test_tls_is_whole_or_absent() -> None:
    assert read(ProcessSettings, BASE).tls() is None
    with pytest.raises(WrongSettings, match="go together"):
        read(ProcessSettings, {**BASE, "TIDEGATE_TLS_KEY": "key.pem"})


@pytest.mark.parametrize(("address", "parts"), [("a.b:80", ("a.b", 80)), ("[::1]:8080", ("::1", 8080))])
def test_addresses_split(address: str, parts: tuple[str, int]) -> None:
    assert split(address) == parts


def test_stop_ends_the_process_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stop(WrongSettings("TIDEGATE_LISTEN = 'x': no address"))
    assert ended.value.code == 2
    assert "TIDEGATE_LISTEN = 'x'" in capsys.readouterr().err
