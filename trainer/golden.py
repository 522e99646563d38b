"""Golden prompts: what a version answers greedily, token by token, so that whoever loads it can prove the load.

An engine may compute in bfloat16 and add up in another order, which moved leads by up to 0.25 on SmolLM2. So of an
answer only a run of tokens is kept that each lead the second choice by MARGIN_LOGITS; what comes before becomes part of
the prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from services.shared.manifests import Golden
from trainer.quiet import quiet

Chat = Sequence[dict[str, str]]

MARGIN_LOGITS = 1.0
MAX_PROMPTS = 8
MAX_PROMPT_TOKENS = 512
MAX_ANSWER_TOKENS = 16

COMMON_QUESTIONS: tuple[Chat, ...] = tuple(
    [{"role": "user", "content": text}]
    for text in (
        "What is the capital of France?",
        "What is 2 + 2?",
        "What is the opposite of hot?",
        "Name the first four letters of the alphabet.",
        "Say hello.",
        "Which planet do we live on?",
        "Write a haiku about the tide.",
        "What colour is the sky on a clear day?",
    )
)
"""Prompts that any chat model answers, one way or another."""


@dataclass(frozen=True, slots=True)
class GoldenReply:
    """A greedy token. lead: its logit less that of the second choice."""

    token: int
    lead: float


@dataclass(frozen=True, slots=True)
class Answerer:
    """A model that computes in float32, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, folder: Path) -> "Answerer":
        quiet()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        return cls(model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def render(self, chat: Chat) -> tuple[int, ...]:
        """As the chat template has it; a model without one is given the last message's text."""
        if self.tokenizer.chat_template is None:
            return tuple(self.tokenizer(chat[-1]["content"])["input_ids"])
        rendered = self.tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, return_dict=True)
        return tuple(rendered["input_ids"])

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def answer(self, prompt: Sequence[int]) -> list[GoldenReply]:
        """Greedily, without the token that ends the turn."""
        ids = torch.tensor([prompt])
        ends = self._ends()
        plan = GenerationConfig(
            do_sample=False, max_new_tokens=MAX_ANSWER_TOKENS, eos_token_id=ends, pad_token_id=ends[0] if ends else 0
        )
        made = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=plan,
            output_logits=True,
            return_dict_in_generate=True,
        )
        said = [_said(logits[0]) for logits in made.logits]
        return said[:-1] if said and said[-1].token in ends else said

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def agrees(self, golden: Golden) -> bool:
        """Whether this model answers the golden prompt with the golden tokens."""
        tokens = torch.tensor([[*golden.prompt_token_ids, *golden.expected_token_ids]])
        said = self.model(tokens).logits[0].argmax(-1).tolist()
        first = len(golden.prompt_token_ids) - 1
        return tuple(said[first:-1]) == golden.expected_token_ids

    def _ends(self) -> list[int]:
        ids = self.model.generation_config.eos_token_id if self.model.generation_config else None
        named = ids if isinstance(ids, list) else [ids]
        return sorted({token for token in (*named, self.tokenizer.eos_token_id) if token is not None})


def surest(said: Sequence[GoldenReply]) -> slice:
    """The longest run of tokens that each lead by MARGIN_LOGITS; empty when none does."""
    best, start = slice(0, 0), 0
    for end, token in enumerate(said, start=1):
        if not token.lead >= MARGIN_LOGITS:  # NaN leads nobody
            start = end
        elif end - start > best.stop - best.start:
            best = slice(start, end)
    return best


def golden_of_folder(folder: Path, chats: Iterable[Chat], *, parent: Path | None = None) -> tuple[Golden, ...]:
    """Of the model in `folder`; first those prompts that tell it from its `parent`. May be none."""
    answerer = Answerer.load(folder)
    found = [golden for chat in chats if (golden := _golden(answerer, chat))]
    if parent is None:
        return tuple(found[:MAX_PROMPTS])
    before = Answerer.load(parent)
    return tuple(sorted(found, key=before.agrees)[:MAX_PROMPTS])


def _golden(answerer: Answerer, chat: Chat) -> Golden | None:
    prompt = answerer.render(chat)
    if not 0 < len(prompt) <= MAX_PROMPT_TOKENS:
        return None
    said = answerer.answer(prompt)
    run = surest(said)
    tokens = tuple(token.token for token in said)
    if run.start == run.stop:
        return None
    return Golden(prompt_token_ids=prompt + tokens[: run.start], expected_token_ids=tokens[run])


def _said(logits: torch.Tensor) -> GoldenReply:
    best = torch.topk(logits, 2)
    return GoldenReply(int(best.indices[0]), float(best.values[0] - best.values[1]))
