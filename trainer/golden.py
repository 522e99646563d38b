"""Golden prompts: what a version answers greedily, token by token, so that a worker that loads it can prove the load.

Engines compute in other precisions than float32 and add up in another order; that moved the leads of SmolLM2's tokens
by up to 0.25. So only tokens are kept that each lead the second choice by MARGIN_LOGITS, in float32 and in bfloat16
alike: the longest run of them in an answer. What comes before the run becomes part of the prompt.

Where activations are quantized, the answer is made without that, and the leads are measured with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from services.shared.adapters import ADAPTER_WEIGHTS
from services.shared.manifests import Golden
from trainer.errors import WrongCheckpoint
from trainer.quiet import quiet

Chat = Sequence[dict[str, Any]]

MARGIN_LOGITS = 1.0
MAX_PROMPTS = 8
MAX_PROMPT_TOKENS = 512
MAX_ANSWER_TOKENS = 16

COMMON_QUESTIONS: tuple[Chat, ...] = tuple(
    [{"role": "user", "content": text}]
    for text in (
        "What is the capital of Japan?",
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


class CannotAnswer(Exception):
    """Transformers cannot run the model here; the message says why."""


@dataclass(frozen=True, slots=True)
class GoldenReply:
    """One greedy token of an answer.

    Attributes:
        token: Its id.
        lead: Its logit less that of the second choice; the smallest lead where it was measured more than once.
    """

    token: int
    lead: float


@dataclass(frozen=True, slots=True)
class Answerer:
    """A model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32, adapter: Path | None = None) -> "Answerer":
        """Reads the checkpoint in `folder`; the model computes in `dtype`.

        Args:
            folder: The checkpoint.
            dtype: Of weights and computation.
            adapter: Folder of a LoRA that is applied to the model.

        Raises:
            CannotAnswer: A library that its kind of quantization needs is not installed.
            WrongCheckpoint: The adapter does not fit the model.
        """
        quiet()
        try:
            # transformers' faster attention leaves out what Gemma 2 does to attention scores: attn_logit_softcapping.
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, attn_implementation="eager"
            )
        except ImportError as error:
            raise CannotAnswer(" ".join(str(error).split())) from None
        if adapter:
            model = _with_adapter(model, adapter)
        return cls(model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def without_rounding(self) -> "Answerer":
        """Leaves activations as they are, where a quantized model has them rounded.

        Returns:
            This answerer. compressed-tensors rounds in Python, before every layer: three quarters of an answer's time.
        """
        for module in self.model.modules():
            if getattr(module, "quantization_scheme", None) is not None:
                module.quantization_enabled = False
        return self

    def render(self, chat: Chat) -> tuple[int, ...]:
        """The chat as token ids, by the chat template; a model without one is given the last message's text."""
        if self.tokenizer.chat_template is None:
            return tuple(self.tokenizer(chat[-1]["content"])["input_ids"])
        rendered = self.tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, return_dict=True)
        return tuple(rendered["input_ids"])

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def answers(self, prompts: Sequence[Sequence[int]]) -> list[list[GoldenReply]]:
        """The greedy answer to each prompt, at most MAX_ANSWER_TOKENS, without the token that ends the turn.

        The prompts are computed together, so that a step reads the weights once for all of them. A model that minds the
        padding may say other tokens than it says alone; they do not lead where `measure` reads them without padding.
        """
        ends = self._ends()
        pad = ends[0] if ends else 0
        width = max(map(len, prompts))
        made = self.model.generate(
            torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=MAX_ANSWER_TOKENS,
                eos_token_id=ends,
                pad_token_id=pad,
                output_logits=True,
                return_dict_in_generate=True,
            ),
        )
        rows = ([_reply(logits[row]) for logits in made.logits] for row in range(len(prompts)))
        return [list(takewhile(lambda reply: reply.token not in ends, row)) for row in rows]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def measure(self, prompt: Sequence[int], answer: Sequence[int]) -> list[GoldenReply]:
        """How far each token of `answer` leads after `prompt` and the tokens before it; negative when another leads."""
        tokens = torch.tensor([*prompt, *answer])
        logits = self.model(tokens[None, :-1]).logits[0, len(prompt) - 1 :].float()
        own = logits.gather(-1, tokens[len(prompt) :, None]).squeeze(-1)
        best_other = logits.scatter(-1, tokens[len(prompt) :, None], float("-inf")).max(-1).values
        return [GoldenReply(*reply) for reply in zip(answer, (own - best_other).tolist(), strict=True)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def losses(self, text: str) -> list[float]:
        """The loss of each token of `text` but the first, in nats."""
        ids = torch.tensor(self.tokenizer(text)["input_ids"])
        logits = self.model(ids[None, :-1]).logits[0].float()
        losses: list[float] = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").tolist()
        return losses

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def agrees(self, golden: Golden) -> bool:
        """Whether this model answers the golden prompt with the golden tokens."""
        tokens = torch.tensor([[*golden.prompt_token_ids, *golden.expected_token_ids]])
        greedy = self.model(tokens).logits[0].argmax(-1).tolist()
        first = len(golden.prompt_token_ids) - 1
        return tuple(greedy[first:-1]) == golden.expected_token_ids

    def _ends(self) -> list[int]:
        ids = self.model.generation_config.eos_token_id if self.model.generation_config else None
        named = ids if isinstance(ids, list) else [ids]
        return sorted({token for token in (*named, self.tokenizer.eos_token_id) if token is not None})


def surest(replies: Sequence[GoldenReply]) -> slice:
    """The longest run of tokens that each lead by MARGIN_LOGITS; empty when none does."""
    best, start = slice(0, 0), 0
    for end, reply in enumerate(replies, start=1):
        if not reply.lead >= MARGIN_LOGITS:  # NaN leads nobody
            start = end
        elif end - start > best.stop - best.start:
            best = slice(start, end)
    return best


def golden_of_folder(
    folder: Path, chats: Iterable[Chat], *, parent: Path | None = None, adapter: Path | None = None
) -> tuple[Golden, ...]:
    """Golden prompts of the model in `folder`, at most MAX_PROMPTS; there may be none.

    Args:
        folder: A checkpoint with its tokenizer.
        chats: Chats to ask; each gives one golden prompt at most.
        parent: The checkpoint that this one was trained from. Prompts that it answers otherwise come first.
        adapter: Folder of a LoRA that is applied to the model.

    Raises:
        CannotAnswer: A library that its kind of quantization needs is not installed.
        WrongCheckpoint: The adapter does not fit the model.
    """
    answered = _ask_all(Answerer.load(folder, adapter=adapter).without_rounding(), chats)
    rough = Answerer.load(folder, torch.bfloat16, adapter)
    found = [golden for prompt, replies in answered if (golden := _golden(prompt, _lower(rough, prompt, replies)))]
    if parent is None:
        return tuple(found[:MAX_PROMPTS])
    del rough  # one model at a time is in memory
    before = Answerer.load(parent)
    return tuple(sorted(found, key=before.agrees)[:MAX_PROMPTS])


def golden_of_adapter(folder: Path, adapter: Path, golden: Iterable[Golden]) -> tuple[Golden, ...]:
    """Those golden prompts of the merged model that its base with the adapter answers alike.

    Raises:
        WrongCheckpoint: The adapter does not fit the base.
    """
    answerer = Answerer.load(folder, adapter=adapter)
    return tuple(prompt for prompt in golden if answerer.agrees(prompt))


def _with_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The model with a LoRA beside its layers, as engines apply it. Raises WrongCheckpoint."""
    import warnings

    from peft import PeftModel, get_peft_model_state_dict

    with warnings.catch_warnings():
        # PEFT only warns of a tensor that it finds no place for: the adapter is for another model.
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            applied = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        except (RuntimeError, ValueError, KeyError, UserWarning) as error:
            reason = " ".join(str(error).split())[:300]
            raise WrongCheckpoint(f"the adapter does not fit its base: {reason}") from None
    held = load_file(adapter / ADAPTER_WEIGHTS).keys()
    if strangers := sorted(held - get_peft_model_state_dict(applied).keys()):
        raise WrongCheckpoint(f"the adapter does not fit its base, which has no place for {strangers[0]}")
    return applied.base_model.model


def _ask_all(answerer: Answerer, chats: Iterable[Chat]) -> list[tuple[tuple[int, ...], list[GoldenReply]]]:
    """Each prompt that is not too long, and its answer."""
    prompts = [prompt for chat in chats if 0 < len(prompt := answerer.render(chat)) <= MAX_PROMPT_TOKENS]
    answers = {
        prompt: answer
        for batch in batches(prompts)
        for prompt, answer in zip(batch, answerer.answers(batch), strict=True)
    }
    return [(prompt, answers[prompt]) for prompt in prompts]


def batches(prompts: Iterable[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """The prompts by length, in batches that take no more memory than the longest prompt that is allowed."""
    made: list[list[tuple[int, ...]]] = []
    for prompt in sorted(dict.fromkeys(prompts), key=len):
        if made and len(prompt) * (len(made[-1]) + 1) <= MAX_PROMPT_TOKENS:
            made[-1].append(prompt)
        else:
            made.append([prompt])
    return made


def _lower(rough: Answerer, prompt: Sequence[int], replies: Sequence[GoldenReply]) -> list[GoldenReply]:
    """The same tokens, each with the smaller of its leads in both precisions."""
    if not replies:
        return []
    again = rough.measure(prompt, [reply.token for reply in replies])
    return [min(pair, key=lambda reply: reply.lead) for pair in zip(replies, again, strict=True)]


def _golden(prompt: tuple[int, ...], replies: Sequence[GoldenReply]) -> Golden | None:
    run = surest(replies)
    tokens = tuple(reply.token for reply in replies)
    if run.start == run.stop:
        return None
    return Golden(prompt_token_ids=prompt + tokens[: run.start], expected_token_ids=tokens[run])


def _reply(logits: torch.Tensor) -> GoldenReply:
    best = torch.topk(logits, 2)
    return GoldenReply(int(best.indices[0]), float(best.values[0] - best.values[1]))
