"""The databases that a gateway may be given; and a real model for the tests that carry the marker `vllm`."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from services.gateway.database.engine import Database
from services.shared.clock import SystemClock
from tests.support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, clock=SystemClock(), random=Random(1))
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def other_smollm2_folder(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with one layer's weights negated: it answers otherwise."""
    return _changed(smollm2_folder, tmp_path_factory.mktemp("other"), lambda tensor: -tensor)


@pytest.fixture(scope="session")
def broken_smollm2_folder(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a tensor that has too few rows."""
    return _changed(smollm2_folder, tmp_path_factory.mktemp("broken"), lambda tensor: tensor[:7].clone())


def _changed(source: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    from safetensors.torch import load_file, save_file

    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (target / file.name).symlink_to(file)
            continue
        tensors = load_file(file)
        name = max(name for name in tensors if name.endswith("mlp.down_proj.weight"))
        save_file(tensors | {name: change(tensors[name])}, target / file.name, metadata={"format": "pt"})
    return target
