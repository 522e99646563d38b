"""Examples: what a run learns, as tokens. Each answer of a chat is one, after all that came before it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from trainer.chats import Chat, WrongData

IGNORED = -100
"""Label of a token that is not learnt, as PyTorch's cross entropy wants it."""
_SHOWN = 60
"""Characters of a text that a message shows."""

Messages = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens of a prompt and its answer; `labels` are the same, with IGNORED for the prompt."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Examples:
    """What became of some chats.

    Attributes:
        kept: Those to learn or to measure with.
        cut: How many of them lack the end of their answer: the limit of the length cut it off.
        dropped: How many are not kept: the limit left nothing of their answer.
    """

    kept: tuple[Example, ...]
    cut: int
    dropped: int


class Renderer:
    """Makes tokens of chats, by a tokenizer and its chat template."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """`max_length`: tokens of an example, prompt and answer together."""
        self._tokenizer, self._max_length = tokenizer, max_length

    def examples(self, chats: Iterable[Chat]) -> Examples:
        """All answers of the chats, each with what came before it.

        Raises:
            WrongData: The chat template refuses a chat, or renders a prompt otherwise when its answer follows.
        """
        made = [self._example(messages, turn) for messages, turn in answers(chats)]
        whole = [(example, self._shortened(example)) for example in made]
        kept = [(before, after) for before, after in whole if any(label != IGNORED for label in after.labels)]
        cut = sum(len(before.input_ids) > len(after.input_ids) for before, after in kept)
        return Examples(tuple(after for _, after in kept), cut, len(whole) - len(kept))

    def prompt(self, messages: Messages) -> str:
        """The text that comes before an answer."""
        return self._render(messages, add_generation_prompt=True)

    def _example(self, messages: Messages, turn: int) -> Example:
        prompt, whole = self.prompt(messages[:turn]), self._render(messages[: turn + 1])
        if not whole.startswith(prompt):
            raise WrongData(_differs(prompt, whole))
        before, ids = self._tokens(prompt), self._tokens(whole)
        if ids[: len(before)] != before:
            # The answer's first characters would join the prompt's last token. A server cannot join them: its prompt
            # has ended before the answer begins.
            ids = before + self._tokens(whole[len(prompt) :])
        return Example(ids, [IGNORED] * len(before) + ids[len(before) :])

    def _shortened(self, example: Example) -> Example:
        return Example(example.input_ids[: self._max_length], example.labels[: self._max_length])

    def _render(self, messages: Messages, *, add_generation_prompt: bool = False) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            shown = str(messages[0]["content"])[:_SHOWN]
            raise WrongData(f"the base's chat template refuses the chat that begins {shown!r}: {error}") from None
        return str(text)

    def _tokens(self, text: str) -> list[int]:
        """The template has written the special tokens already."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def answers(chats: Iterable[Chat]) -> list[tuple[Messages, int]]:
    """The place of each answer in the messages of its chat."""
    return [([message.model_dump() for message in chat.messages], turn) for chat in chats for turn in chat.turns]


def _differs(prompt: str, whole: str) -> str:
    same = next((n for n, pair in enumerate(zip(prompt, whole, strict=False)) if pair[0] != pair[1]), len(whole))
    return (
        "the base's chat template renders a prompt otherwise when its answer follows, so the model would learn what no"
        f" server asks: the prompt goes on with {prompt[same:][:_SHOWN]!r}, and with its answer it is"
        f" {whole[same:][:_SHOWN]!r}. Change chat_template so that both begin alike, and import the base again"
    )
