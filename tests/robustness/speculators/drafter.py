"""A small draft model for SmolLM2, made on a CPU in minutes: its first layers, trained on its own greedy answers.

The embedding, which is the output layer too, stays as it is; the drafter has the tokenizer and the width of its target.
Loss: cross entropy with the target's greedy tokens, since at temperature 0 a draft token is accepted where both agree.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

ANSWER_TOKENS = 96
BATCH = 24
LEARNING_RATE = 1e-3
_IGNORED = -100


def answers(folder: Path, questions: Sequence[str], *, seconds: float) -> list[tuple[list[int], int]]:
    """The target's greedy answers, as token ids, each with the length of its prompt.

    Args:
        folder: The target.
        questions: What it is asked, in this order.
        seconds: After this time no other batch begins.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found: list[tuple[list[int], int]] = []
    over = time.monotonic() + seconds
    for at in range(0, len(questions), BATCH):
        if time.monotonic() > over:
            break
        chats = [[{"role": "user", "content": question}] for question in questions[at : at + BATCH]]
        rendered = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
        )
        with torch.no_grad():
            made = model.generate(
                **rendered, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )
        width = rendered["input_ids"].shape[1]
        for row, mask in zip(made, rendered["attention_mask"], strict=True):
            padding = width - int(mask.sum())
            answer = row[width:].tolist()
            if tokenizer.eos_token_id in answer:
                answer = answer[: answer.index(tokenizer.eos_token_id) + 1]
            found.append((row[padding:width].tolist() + answer, width - padding))
    return found


def untrained(folder: Path, layers: int) -> Any:
    """The target with its first layers only."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]
    return model


def train(model: Any, examples: Sequence[tuple[list[int], int]], *, seconds: float, seed: int) -> Iterator[float]:
    """Trains in place for some time. Yields the loss of each step."""
    model.train()
    model.get_input_embeddings().weight.requires_grad_(False)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=LEARNING_RATE, weight_decay=0.01)
    random, over = Random(seed), time.monotonic() + seconds
    began = time.monotonic()
    while (now := time.monotonic()) < over:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * max(0.05, 1 - (now - began) / seconds)
        tokens, labels = _batch(random.sample(list(examples), min(8, len(examples))))
        # Only positions of the answers reach the output layer, which is most of a small model's work.
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
            wanted = labels[:, 1:]
            chosen = wanted != _IGNORED
            logits = model.lm_head(hidden[chosen])
        loss = cross_entropy(logits.float(), wanted[chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield float(loss.detach())


def agreement(model: Any, examples: Sequence[tuple[list[int], int]]) -> float:
    """Part of the answers' tokens that the drafter names, given all that came before."""
    model.eval()
    same = total = 0
    with torch.no_grad():
        for tokens, prompt in examples:
            ids = torch.tensor([tokens])
            hidden = model.model(input_ids=ids).last_hidden_state[0, prompt - 1 : -1]
            same += int((model.lm_head(hidden).argmax(-1) == ids[0, prompt:]).sum())
            total += len(tokens) - prompt
    return same / total


def save(model: Any, target: Path, to: Path) -> Path:
    """Writes the drafter with the target's tokenizer."""
    to.mkdir(parents=True, exist_ok=True)
    model.to(torch.float32).save_pretrained(to)
    AutoTokenizer.from_pretrained(target).save_pretrained(to)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (target / name).exists():
            (to / name).write_bytes((target / name).read_bytes())
    return to


def _batch(examples: Sequence[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(tokens) for tokens, _ in examples)
    ids = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), _IGNORED, dtype=torch.long)
    for row, (tokens, prompt) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    return ids, labels
