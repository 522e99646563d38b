"""Prompts of the simulated engine: a plain chat template, and the checks that every engine makes."""

import json

from services.worker.engine.contract import (
    ChatPrompt,
    ContextTooLong,
    EngineRequest,
    InvalidPrompt,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from services.worker.engine.simulated.tokens import VOCABULARY, decode, encode


def text_of(prompt: Prompt) -> str:
    """Returns the text that the prompt stands for, with the chat template applied."""
    if isinstance(prompt, TokenPrompt):
        return decode(prompt.ids)
    return prompt.text if isinstance(prompt, TextPrompt) else _chat_text(prompt)


def tokens_of(prompt: Prompt) -> tuple[int, ...]:
    """Returns the token ids of a prompt.

    Raises:
        InvalidPrompt: An id is outside the vocabulary.
    """
    if not isinstance(prompt, TokenPrompt):
        return tuple(encode(text_of(prompt)))
    if wrong := [token for token in prompt.ids if not 0 <= token < VOCABULARY]:
        raise InvalidPrompt(f"token id {wrong[0]} is not in the vocabulary of {VOCABULARY}", "prompt")
    return prompt.ids


def _chat_text(prompt: ChatPrompt) -> str:
    tools = f"<|tools|>{json.dumps(prompt.tools, sort_keys=True)}\n" if prompt.tools else ""
    messages = (f"<|{message['role']}|>{_content(message.get('content'))}\n" for message in prompt.messages)
    return f"{tools}{''.join(messages)}<|assistant|>"


def _content(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, sort_keys=True)


def limit_of(request: EngineRequest, prompt_tokens: int, context_tokens: int) -> int:
    """Returns the number of tokens that a choice may have.

    Raises:
        InvalidPrompt: The prompt is empty, or the request asks for what this engine cannot do.
        ContextTooLong: Prompt and answer are longer than the context.
    """
    if request.sampling.structure:
        raise InvalidPrompt("the simulated engine has no structured outputs", "response_format")
    if not prompt_tokens:
        raise InvalidPrompt("the prompt is empty", "prompt")
    room = context_tokens - prompt_tokens
    max_tokens = request.sampling.max_tokens
    if room < max(1, max_tokens or 0):
        asked = f"{prompt_tokens} tokens of prompt" + (f" and {max_tokens} of answer" if max_tokens else "")
        raise ContextTooLong(f"The context of this model is {context_tokens} tokens; the request asks for {asked}.")
    limit = room if max_tokens is None else max_tokens
    if request.sampling.min_tokens > limit:
        raise InvalidPrompt(f"min_tokens must be at most {limit}, the tokens that there may be", "min_tokens")
    return limit
