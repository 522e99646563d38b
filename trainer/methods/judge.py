"""The loss of a model on held-out examples, for methods in which no trainer of TRL measures it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from trainer.examples import Example
from trainer.loss_curve import finite
from trainer.methods.base_model import attention, config_of


@torch.inference_mode()  # type: ignore[untyped-decorator]
def held_out_loss(folder: Path, examples: Sequence[Example]) -> float:
    """The mean loss of all tokens that count, in nats, computed in float32, one example after another.

    Args:
        folder: A model.
        examples: With one token that counts, at least.

    Raises:
        Diverged: It is not finite.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, attn_implementation=attention(config_of(folder))
    )
    model = model.to(device).eval()
    total, count = 0.0, 0
    for example in examples:
        ids, labels = (torch.tensor(row, device=device) for row in (example.input_ids, example.labels))
        logits = model(ids[None, :-1]).logits[0].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum"))
        count += int((labels[1:] >= 0).sum())
    return finite(total / count, "the loss on held-out data")
