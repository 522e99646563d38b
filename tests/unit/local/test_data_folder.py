import stat
from pathlib import Path

import pytest

from services.local import env_file, secrets
from services.local.cluster_record import Addresses
from services.local.data_folder import DataFolder, write_private
from services.local.errors import ClusterError
from services.local.secrets import Secrets
from services.shared.settings import WrongSettings


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder.at(tmp_path / "data")
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_sees_inside(folder: DataFolder) -> None:
    assert mode(folder.root) == 0o700
    write_private(folder.state, "{}")
    assert mode(folder.state) == 0o600
    assert [path.name for path in folder.root.glob("*.new")] == []


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    before = mode(tmp_path)
    with pytest.raises(WrongSettings, match=r"--data-dir = .* this folder holds files"):
        DataFolder.at(tmp_path).prepare()
    assert mode(tmp_path) == before


def test_one_holder_at_a_time(folder: DataFolder) -> None:
    with folder.locked(), pytest.raises(ClusterError, match="already running"), folder.locked():
        pass
    with folder.locked():
        pass


def test_keys_are_made_once_and_kept(folder: DataFolder) -> None:
    first = secrets.load_or_create(folder)
    assert secrets.load_or_create(folder) == first != Secrets.generate()
    assert mode(folder.secrets) == 0o600


def test_a_file_of_the_first_release_gets_the_servers_secret_and_keeps_its_keys(folder: DataFolder) -> None:
    first = Secrets.generate()
    write_private(folder.secrets, first.model_dump_json(exclude={"server_secret"}))
    kept = secrets.load_or_create(folder)
    assert kept.model_copy(update={"server_secret": first.server_secret}) == first
    assert secrets.load_or_create(folder) == kept
    assert len(kept.server_secret) >= 32


def test_a_broken_key_file_is_named_without_its_content(folder: DataFolder) -> None:
    write_private(folder.secrets, '{"api_key": "geheim"}')
    with pytest.raises(WrongSettings) as wrong:
        secrets.load_or_create(folder)
    assert "admin_key" in str(wrong.value)
    assert "geheim" not in str(wrong.value)


def test_the_environment_file_reads_back(folder: DataFolder) -> None:
    addresses = Addresses(rest="127.0.0.1:1", grpc="127.0.0.1:2", redis="r:3", s3="http://s:4", routers=("t:5",))
    values = env_file.variables(addresses, Secrets.generate())
    env_file.write(folder, values)
    assert env_file.read(folder) == values
    assert values["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert mode(folder.environment) == 0o600
