"""Examples: what a run learns, as tokens.

Each answer of a conversation is one, after all that came before it; of a text, each part that fits into the limit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jinja2 import TemplateError

from trainer.data.sample import Conversation, PreferencePair, Sample, Text, documents
from trainer.data.wrong import WrongData

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


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rendered(Generic[T]):
    """What became of some samples.

    Attributes:
        kept: Those to learn or to measure with.
        cut: How many of them lack the end of an answer: the limit of the length cut it off.
        dropped: How many are not kept: the limit left nothing of their answer.
    """

    kept: tuple[T, ...]
    cut: int
    dropped: int


Examples = Rendered[Example]


class Renderer:
    """Makes tokens of samples, by a tokenizer and its chat template."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """`max_length`: tokens of an example, prompt and answer together."""
        self._tokenizer, self._max_length = tokenizer, max_length

    def examples(self, samples: Iterable[Sample]) -> Examples:
        """All answers of conversations, each with what came before it, and all parts of texts.

        Raises:
            WrongData: The chat template refuses a conversation, does not show its tools, or renders a prompt otherwise
                when its answer follows. The samples are preference pairs.
        """
        made = [example for sample in samples for example in self._of(sample)]
        whole = [(example, self._shortened(example)) for example in made]
        kept = [(before, after) for before, after in whole if any(label != IGNORED for label in after.labels)]
        cut = sum(len(before.input_ids) > len(after.input_ids) for before, after in kept)
        return Rendered(tuple(after for _, after in kept), cut, len(whole) - len(kept))

    def prompt(self, messages: Messages, tools: Sequence[dict[str, Any]] = ()) -> str:
        """The text that comes before an answer. Raises TemplateError."""
        return self._render(messages, tools, add_generation_prompt=True)

    def answer(self, conversation: Conversation, turn: int) -> Example:
        """One turn of a conversation, which is learnt, after all that came before it. It is not shortened.

        Raises:
            WrongData: As `examples`.
        """
        messages, tools = documents(conversation.messages[: turn + 1]), conversation.tools
        try:
            prompt, whole = self.prompt(messages[:turn], tools), self._render(messages, tools)
            if tools and whole == self._render(messages):
                raise WrongData(_without_tools(conversation.place))
        except TemplateError as error:
            raise WrongData(f"{conversation.place}: the base's chat template refuses the chat: {error}") from None
        if not whole.startswith(prompt):
            raise WrongData(f"{conversation.place}: {_differs(prompt, whole)}")
        before, ids = self._tokens(prompt), self._tokens(whole)
        if ids[: len(before)] != before:
            # The answer's first characters would join the prompt's last token. A server cannot join them: its prompt
            # has ended before the answer begins.
            ids = before + self._tokens(whole[len(prompt) :])
        return Example(ids, [IGNORED] * len(before) + ids[len(before) :])

    def text(self, text: str) -> list[int]:
        """The tokens of a text, with those that begin and end one."""
        ids = list(self._tokenizer(text)["input_ids"])
        end = self._tokenizer.eos_token_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]

    def _of(self, sample: Sample) -> Iterator[Example]:
        if isinstance(sample, PreferencePair):
            raise WrongData(
                f"{sample.place}: preference pairs are no answers to learn: set method: dpo, or give"
                " conversations or texts"
            )
        if isinstance(sample, Text):
            ids = self.text(sample.text)
            for part in parts(len(ids), self._max_length):
                yield Example(ids[part], ids[part])
            return
        if sample.good is not None:
            raise WrongData(
                f"{sample.place}: judged answers are not all to be learnt: set method: kto, or take label out of the"
                " data"
            )
        for turn in sample.turns:
            yield self.answer(sample, turn)

    def _shortened(self, example: Example) -> Example:
        return Example(example.input_ids[: self._max_length], example.labels[: self._max_length])

    def _render(
        self, messages: Messages, tools: Sequence[dict[str, Any]] = (), *, add_generation_prompt: bool = False
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        )

    def _tokens(self, text: str) -> list[int]:
        """The template has written the special tokens already."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def parts(length: int, limit: int) -> list[slice]:
    """As few parts of a sequence as can have at most `limit` each, all about as long.

    A last part of one token would teach nothing.
    """
    count = -(-length // limit)
    return [slice(at * length // count, (at + 1) * length // count) for at in range(count)]


def _without_tools(place: str) -> str:
    return (
        f"{place}: the conversation has tools, and the base's chat template does not show them. Train a base whose"
        " template does, or take tools out of the data"
    )


def _differs(prompt: str, whole: str) -> str:
    same = next((n for n, pair in enumerate(zip(prompt, whole, strict=False)) if pair[0] != pair[1]), len(whole))
    return (
        "the base's chat template renders a prompt otherwise when its answer follows, so the model would learn what no"
        f" server asks: the prompt goes on with {prompt[same:][:_SHOWN]!r}, and with its answer it is"
        f" {whole[same:][:_SHOWN]!r}. Change chat_template so that both begin alike, and import the base again"
    )
