"""What a trainer of transformers does, written down plainly: the loss of each step, on the same sequences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

from trainer.data.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the loop. The schedule is a cosine to a tenth of the learning rate."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int
    weight_decay: float
    beta2: float


def losses(model_folder: Path, corpus: Corpus, settings: Settings) -> list[float]:
    """Trains the model in the folder, in float32. The first loss is that before any step."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, local_files_only=True).train()
    optimizer = torch.optim.AdamW(
        _groups(model, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, settings.beta2), eps=1e-8
    )
    schedule = get_cosine_with_min_lr_schedule_with_warmup(optimizer, settings.warmup, settings.steps, min_lr_rate=0.1)
    found = []
    for step in range(settings.steps):
        places = range(step * settings.batch, (step + 1) * settings.batch)
        ids = torch.from_numpy(np.stack([corpus.learnt_at(place) for place in places]))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    return found


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    """Weights of norms do not decay."""
    decayed = [weight for name, weight in model.named_parameters() if "norm" not in name]
    others = [weight for name, weight in model.named_parameters() if "norm" in name]
    return [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
