from pathlib import Path

import pytest
import yaml

from loadtests.profile import load
from services.shared.settings import WrongSettings
from tests.unit.loadtests.samples import profile

PROFILES = Path("loadtests/profiles")


@pytest.mark.parametrize("file", sorted(PROFILES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_profiles_that_come_along_are_valid_and_named_after_their_files(file: Path) -> None:
    assert load(file).name == file.stem


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rps": 3}, "rps = 3"),
        ({"tiers": {"gold": {}}}, "tiers.gold"),
        ({"tiers": {"default": {"objectives": {"ttft": 5}}}}, "tiers.default.objectives.ttft = 5"),
        ({"arrivals": {"process": "poisson", "rate": -1}}, "arrivals.poisson.rate = -1"),
        ({"duration_s": 3600, "arrivals": {"process": "poisson", "rate": 1000}}, "at most 1000000 are allowed"),
        ({"streamed": float("nan")}, "streamed = nan"),
    ],
)
def test_a_wrong_profile_is_refused_by_file_key_and_value(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(profile().model_dump(mode="json") | changes))
    with pytest.raises(WrongSettings) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert named in str(refused.value)


def test_the_command_line_goes_first() -> None:
    changed = profile().with_changes(rate=3, duration_s=7, seed=5)
    assert (changed.arrivals.model_dump()["rate"], changed.duration_s, changed.seed) == (3, 7, 5)
    assert profile().with_changes(rate=None, duration_s=None, seed=None) == profile()


def test_what_the_command_line_says_is_checked_too() -> None:
    with pytest.raises(WrongSettings, match=r"--duration = -1"):
        profile().with_changes(rate=None, duration_s=-1, seed=None)
    ramp = profile(arrivals={"process": "ramp", "from_rate": 1, "to_rate": 2})
    with pytest.raises(WrongSettings, match=r"--rate = 3"):
        ramp.with_changes(rate=3, duration_s=None, seed=None)
