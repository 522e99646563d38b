"""Precisions: what is named on the command line, and the table, page and plot of what was seen."""

from pathlib import Path

import pytest
import yaml

from loadtests import profile
from loadtests.figures import figures
from loadtests.load import CannotRun
from loadtests.precisions import page
from loadtests.precisions.choice import Choice, choices
from loadtests.precisions.cluster import engine_error, peak_rss, reason
from loadtests.precisions.plots import plot
from loadtests.precisions.study import Measured, Row, Study
from loadtests.profile import Objectives
from loadtests.sample import Outcome, Sample
from services.shared.held_out import passages
from services.shared.settings import WrongSettings

LOAD = profile.load(Path(__file__).parents[3] / "loadtests/profiles/precisions.yaml")


def measured(loss: float) -> Measured:
    sample = Sample(0, "default", streamed=True, due_s=0.0, outcome=Outcome.OK, sent_s=0.0, ended_s=2.1)
    sample.token_times, sample.output_tokens = [0.1, 1.0, 2.1], 21
    total = figures([sample], {"default": Objectives()}, 2.1)
    return Measured(total=total, held_out_loss=loss, held_out_tokens=700, peak_bytes=900 << 20, machine_load=1.25)


STUDY = Study(
    started_at="2026-11-29T12:00:00+00:00",
    cores=2,
    memory_bytes=24 << 30,
    profile=LOAD,
    rows=[
        Row(name="float32", engine={}, measured=measured(3.4676)),
        Row(name="int8", engine={"dtype": "float32"}, measured=measured(3.5095)),
        Row(name="int4", engine={}, reason="no kernel"),
    ],
)


def test_a_choice_is_a_name_a_source_and_keys_of_the_engine() -> None:
    choice = Choice.parse("fp16=hf://org/model@main,dtype=float16,kv_memory_gib=0.5")
    assert choice == Choice("fp16", "hf://org/model@main", {"dtype": "float16", "kv_memory_gib": 0.5})
    assert yaml.safe_load(choice.config()) == {
        "pools": [
            {
                "name": "fp16",
                "model": "fp16",
                "engine": {"kind": "vllm", "dtype": "float16", "kv_memory_gib": 0.5},
            }
        ]
    }


@pytest.mark.parametrize("text", ["folder", "=folder", "int8=", "Int 8=folder", "a=b,dtype", "a=b,=x", "a=b,key={"])
def test_another_form_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(WrongSettings, match="MODELS = "):
        choices([text])


def test_two_rows_with_one_name_are_refused() -> None:
    with pytest.raises(WrongSettings, match="int8 is there more than once"):
        choices(["int8=a", "int8=b"])


def test_the_table_has_a_row_for_each_and_the_reason_of_what_does_not_run() -> None:
    rows = list(page.table(STUDY))
    assert rows[2] == "| float32 | as it comes | 10.0 | 100 / 100 | 100 | 900 | 3.4676 | 1.2 |"
    assert rows[3].startswith("| int8 | `dtype: float32` | 10.0 |")
    assert rows[4] == "| int4 | as it comes | does not run | - | - | - | - | - |"
    assert rows[5] == "\n`int4` does not run here: `no kernel`"


def test_the_page_keeps_what_was_written_by_hand_and_the_plot_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"above\n{page.BEGIN}old\n{page.END}below\n")
    page.check(file)
    page.write(file, STUDY)
    _, picture = page.write(file, STUDY)
    text = file.read_text()
    assert text.startswith(f"above\n{page.BEGIN}2026-11-29, 2 cores, 24 GiB; load `precisions`, seed 1, for 8 s;")
    assert text.endswith(f"](images/precisions.png)\n{page.END}below\n")
    assert "old" not in text
    assert picture.read_bytes() == plot(STUDY)


def test_a_page_without_the_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page.BEGIN)
    for name in ("page.md", "none.md"):
        with pytest.raises(WrongSettings, match="--write = "):
            page.check(tmp_path / name)


def test_the_study_is_read_back_as_it_was_written() -> None:
    assert Study.model_validate_json(STUDY.model_dump_json()) == STUDY


def test_memory_is_the_largest_resident_size() -> None:
    assert peak_rss("Name:\tpython\nVmHWM:\t    1000 kB\nVmRSS:\t     900 kB\n") == 1_024_000
    with pytest.raises(CannotRun, match="VmHWM"):
        peak_rss("Name:\tpython\n")


def test_the_reason_is_the_end_of_what_was_said() -> None:
    assert reason("a\n b\n") == "a b"
    assert reason("") == "it said nothing"
    assert reason("x" * 900) == "x" * 400


def test_the_reason_of_an_engine_that_died_is_its_last_exception() -> None:
    at = "(EngineCore pid=7) ERROR 11-29 12:18:03 [core.py:1512]"
    log = f"{at} Traceback\n{at} ValueError: first\n{at}     raise AttributeError(\n{at} a.BError: no kernel\n{{}}\n"
    assert engine_error(log) == "a.BError: no kernel"
    assert engine_error('{"level": "ERROR", "message": "ValueError: no"}\n') is None


def test_the_held_out_text_has_passages() -> None:
    assert len(passages()) > 5
    assert all(len(passage) > 80 and "\n\n" not in passage for passage in passages())
