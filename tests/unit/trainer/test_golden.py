import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from services.shared.manifests import Golden
from trainer import golden
from trainer.golden import MARGIN_LOGITS, MAX_PROMPT_TOKENS, GoldenReply, batches, golden_of_folder, surest

SURE, NEAR, NAN = MARGIN_LOGITS, MARGIN_LOGITS / 2, float("nan")


@pytest.mark.parametrize(
    ("leads", "run"),
    [
        ([], slice(0, 0)),
        ([NEAR], slice(0, 0)),
        ([SURE, SURE], slice(0, 2)),
        ([SURE, NEAR, SURE, SURE], slice(2, 4)),
        ([SURE, SURE, NEAR, SURE], slice(0, 2)),
        ([NAN, NAN], slice(0, 0)),
        ([SURE, NAN, SURE, SURE], slice(2, 4)),
    ],
)
def test_the_longest_run_of_sure_tokens(leads: list[float], run: slice) -> None:
    assert surest([GoldenReply(token=1, lead=lead) for lead in leads]) == run


def test_prompts_that_fit_together_are_asked_together() -> None:
    long, half, short = (1,) * MAX_PROMPT_TOKENS, (2,) * (MAX_PROMPT_TOKENS // 2), (3,) * 5
    other = (4, *half[1:])
    assert batches([long, half, other, short, short]) == [[short, half], [other], [long]]
    assert batches([half, other]) == [[half, other]]
    assert batches([]) == []


class Loaded:
    """In place of a model in memory. All of them answer alike, and surely."""

    def without_rounding(self) -> "Loaded":
        return self

    def render(self, chat: Any) -> tuple[int, ...]:
        return (1, 2)

    def answers(self, prompts: Any) -> list[list[GoldenReply]]:
        return [[GoldenReply(5, SURE)] for _ in prompts]

    def measure(self, prompt: Any, answer: Any) -> list[GoldenReply]:
        return [GoldenReply(token, SURE) for token in answer]

    def agrees(self, golden: Golden) -> bool:
        return True


def test_one_model_at_a_time_is_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_memory: weakref.WeakSet[Loaded] = weakref.WeakSet()
    together: list[int] = []

    def load(*_: Any, **__: Any) -> Loaded:
        gc.collect()
        made = Loaded()
        in_memory.add(made)
        together.append(len(in_memory))
        return made

    monkeypatch.setattr(golden.Answerer, "load", load)
    (found,) = golden_of_folder(tmp_path, [[{"role": "user", "content": "?"}]], parent=tmp_path)
    assert found == Golden(prompt_token_ids=(1, 2), expected_token_ids=(5,))
    assert together == [1, 1, 1]
