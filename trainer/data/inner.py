"""The inner form as JSONL, which the reader reads again: how data travels with a job."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from trainer.data.sample import Conversation, Message, Sample, Text


def to_jsonl(samples: Iterable[Sample]) -> Iterator[str]:
    """A line for each sample, with its end."""
    for sample in samples:
        yield json.dumps(_fields(sample), ensure_ascii=False) + "\n"


def _fields(sample: Sample) -> dict[str, Any]:
    if isinstance(sample, Text):
        return {"text": sample.text}
    tools = {"tools": list(sample.tools)} if sample.tools else {}
    if isinstance(sample, Conversation) and sample.good is not None:
        prompt, completion = sample.messages[: sample.turns[0]], sample.messages[sample.turns[0] :]
        sides = {"prompt": prompt, "completion": completion}
        return {name: list(map(_message, side)) for name, side in sides.items()} | {"label": sample.good} | tools
    if isinstance(sample, Conversation):
        return {"messages": [_message(message) for message in sample.messages], **tools}
    sides = {"prompt": sample.prompt, "chosen": sample.chosen, "rejected": sample.rejected}
    return {name: [message.document() for message in side] for name, side in sides.items()} | tools


def _message(message: Message) -> dict[str, Any]:
    unlearnt = message.role == "assistant" and not message.learnt
    return message.document() | ({"weight": 0} if unlearnt else {})
