"""The report of a run: everything escaped, no script, the same bytes every time."""

import re
from pathlib import Path

from services.shared.manifests import digest_of, make
from tests.unit.trainer.test_decision import figures
from trainer.data.report import Report
from trainer.evaluation.decision import Decision
from trainer.evaluation.evaluated import Evaluated
from trainer.loss_curve import HELD_OUT
from trainer.order import Outcome
from trainer.recipe_file import parse
from trainer.record import Counts
from trainer.report.document import MAX_POINTS, Facts, thinned
from trainer.report.files import files, write

HOSTILE = "<script>alert('x')</script>\"&"


def facts() -> Facts:
    recipe = parse({"base": "tide", "method": "sft", "data": "x.jsonl", "steps": 2, "learning_rate": 0.1})
    report = Report(kept=3)
    report.drop("x.jsonl:1", HOSTILE)
    evaluated = Evaluated({f"{HOSTILE}/acc": figures(0.5)["arc/acc"]}, None, None, None, Decision("publish"))
    outcome = Outcome(2.0, 1.0, Counts(learnt=2, held_out=1, cut=0, dropped=0), report, {HOSTILE: 0.5})
    outcome.evaluated = evaluated
    curve = [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.5, "seconds": 7},
        {"step": 1, HELD_OUT: 1.5},
        {"step": 2, "loss": 1.0, "learning_rate": 0.05, "grad_norm": 1.0},
    ]
    return Facts(recipe, HOSTILE, None, outcome, curve, "canary", (HOSTILE,))


def test_every_text_is_escaped_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    page = write(tmp_path, facts()).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;") == 5
    assert page.count("<img") == 3
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r"src='([^']*)'", page))
    assert "http://" not in page
    assert "https://" not in page
    assert "Decision: <span class='canary'>canary</span>" in page


def test_the_same_run_makes_the_same_report(tmp_path: Path) -> None:
    write(tmp_path / "a", facts())
    write(tmp_path / "b", facts())
    first, second = files(tmp_path / "a"), files(tmp_path / "b")
    assert [file.name for file in first] == ["report.html", "report.json"]
    assert first == second
    assert "seconds" not in (tmp_path / "a/report/report.json").read_text()


def test_a_long_curve_is_thinned_and_keeps_its_end_and_its_measurements() -> None:
    curve = [{"step": step, "loss": 1.0} for step in range(1, 5 * MAX_POINTS)] + [{"step": 7, HELD_OUT: 1.0}]
    found = thinned(curve)
    assert len(found) <= MAX_POINTS + 1
    assert found[-1] == curve[-1]
    assert thinned(curve[:10]) == curve[:10]


def test_manifests_without_a_report_keep_their_digest() -> None:
    manifest = make(
        model="tide",
        created=1,
        architecture="Simulated",
        context_tokens=256,
        vocab_size=256,
        files=({"name": "model.safetensors", "size": 1, "sha256": "0" * 64},),
        weights_sha256="0" * 64,
        tokenizer_sha256="0" * 64,
        source="a test",
    )
    document = manifest.model_dump(mode="json")
    assert "report" not in document
    told = {key: document[key] for key in document if key not in ("version", "signature", "signer", "created")}
    assert digest_of(told) == manifest.version
