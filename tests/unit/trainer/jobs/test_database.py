import pytest

from services.shared.settings import WrongSettings
from trainer.jobs.database import connect


@pytest.mark.parametrize("url", ["rubbish", "nonsense://host/secret-word"])
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(WrongSettings, match="TIDEGATE_DATABASE_URL") as told:
        connect(url)
    assert "secret-word" not in str(told.value)
