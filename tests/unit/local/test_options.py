from pathlib import Path

import pytest

from services.local.options import UpOptions
from services.shared.settings import WrongSettings, check

GIVEN = {"data_dir": Path("/data"), "working_dir": Path("/here")}


def test_a_database_that_is_not_postgresql_is_refused_without_its_password() -> None:
    url = "mysql://tidegate:secret-word@localhost/tidegate"
    with pytest.raises(WrongSettings, match=r"database_url.*such as postgresql://") as told:
        check(UpOptions, {**GIVEN, "database_url": url})
    assert "secret-word" not in str(told.value)
    assert check(UpOptions, {**GIVEN, "database_url": "postgresql+psycopg://localhost/tidegate"}).database_url
