from pathlib import Path

import orjson
import pytest

from loadtests import compare, page
from loadtests.command import failures
from loadtests.report import ClientCost, Report, report
from loadtests.sample import Outcome, Sample
from services.shared.settings import WrongSettings
from tests.unit.loadtests.samples import answered, failed, profile

COST = ClientCost(cpu_s=0.5, cpu_us_per_event=5.0, connections=3, resent=0)
TIERS = {"priority": {"objectives": {"ttft_ms": 200}}, "default": {}}


def samples() -> list[Sample]:
    good = [answered(n / 2, tier="priority" if n % 3 else "default") for n in range(12)]
    return [*good, failed(4), failed(5, Outcome.REFUSED), failed(6, Outcome.REFUSED)]


def made(*, seed: int = 0, found: list[Sample] | None = None) -> Report:
    asked = profile(tiers=TIERS, seed=seed)
    what = samples() if found is None else found
    return report(what, asked, COST, base_url="http://server/v1", model="<m>", started=0.0, stopped_early=False)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    made().write(tmp_path)
    assert Report.read(tmp_path) == Report.read(tmp_path / "report.json") == made()


@pytest.mark.parametrize(("key", "value"), [("schema_version", 2), ("extra", 1), ("elapsed_s", "long")])
def test_what_is_no_report_of_this_schema_is_refused_by_key(tmp_path: Path, key: str, value: object) -> None:
    file = made().write(tmp_path)
    file.write_bytes(orjson.dumps({**orjson.loads(file.read_bytes()), key: value}))
    with pytest.raises(WrongSettings, match=f"{key} = "):
        Report.read(file)


def test_the_total_is_of_all_tiers_and_troubles_are_told() -> None:
    found = made()
    assert found.total.due == sum(tier.due for tier in found.tiers.values()) == 15
    assert [(t.outcome, t.count) for t in found.troubles] == [("refused", 2), ("timeout", 1)]
    assert found.elapsed_s == 10.0


def test_a_run_fails_for_missed_goodput_and_if_strict_for_errors_that_are_no_refusals() -> None:
    assert failures(made(), None, strict=False) == []
    assert failures(made(), 0.5, strict=False) == []
    assert failures(made(), 0.9, strict=True) == ["goodput is 80.00%, 90.00% is required", "1 unexpected errors"]
    assert failures(made(found=[failed(outcome=Outcome.REFUSED)]), None, strict=True) == []


def test_two_runs_compare_by_ratio_and_by_what_was_not_the_same() -> None:
    slow = made(seed=3, found=[answered(n, first=0.2, end=2.0) for n in range(12)])
    table = {(tier, measure): values for tier, measure, *values in compare.rows(made(), slow)}
    assert table["all", "TTFT ms p50"] == ["100", "200", "2.00x"]
    assert ("priority", "TTFT ms p50") not in table
    assert compare.differences(made(), slow) == ["profile.seed: 0 | 3"]
    assert compare.ratio(0, 5) == "-"


def test_the_page_stands_alone_and_says_what_was_run() -> None:
    html = page.render(made(), samples())
    assert html.count("<svg ") == 6
    assert "&lt;m&gt;" in html
    assert "<m>" not in html
    assert "80.0 %" in html
    assert "seed: 0" in html
    for loads in ("<script", "<link", '<img src="http', "@import", "url(http"):
        assert loads not in html
    assert "#010203" not in html


def test_a_run_in_which_nothing_was_answered_is_reported_too() -> None:
    assert "100.0%" not in page.render(made(found=[failed()]), [failed()])
    assert page.render(made(found=[]), [])
