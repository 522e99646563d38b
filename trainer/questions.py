"""What samples ask: chats without their answers, for golden prompts."""

from collections.abc import Sequence
from typing import Any

from trainer.data.sample import Conversation, Message, PreferencePair, Sample, Text, documents


def questions(samples: Sequence[Sample]) -> list[list[dict[str, Any]]]:
    """What is asked before the first answer that is learnt. Texts ask nothing."""
    return [documents(_asked(sample)) for sample in samples if not isinstance(sample, Text)]


def _asked(sample: Conversation | PreferencePair) -> Sequence[Message]:
    return sample.messages[: sample.turns[0]] if isinstance(sample, Conversation) else sample.prompt
