"""The model is computed as it is published: the fast attention of transformers would change Gemma 2."""

import json
from pathlib import Path

import torch

from tests.integration.trainer import tiny
from tests.robustness.architectures.kinds import KINDS, make
from trainer.golden import Answerer
from trainer.methods.base_model import model_of

GEMMA2 = next(kind for kind in KINDS if kind.name == "gemma2")


def logits(folder: Path, cap: float | None) -> torch.Tensor:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_logit_softcapping": cap}))
    with torch.no_grad():
        scores: torch.Tensor = Answerer.load(folder).model(torch.arange(3, 40)[None]).logits
    return scores


def test_the_soft_cap_of_attention_scores_counts(tmp_path: Path) -> None:
    folder = make(GEMMA2, tmp_path / "gemma2", seed=0)
    trained = model_of(tiny.recipe("chats.jsonl"), folder)
    assert trained.config._attn_implementation == "eager"
    assert not torch.allclose(logits(folder, 0.5), logits(folder, None), atol=0.1)
