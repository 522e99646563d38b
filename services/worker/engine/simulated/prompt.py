"""Prompts of the simulated engine: a plain chat template, and the checks that every engine makes."""

import json

from services.worker.engine.bounds import check_token_ids, token_limit, truncated
from services.worker.engine.contract import ChatPrompt, EngineRequest, InvalidPrompt, Prompt, TextPrompt, TokenPrompt
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
    check_token_ids(prompt.ids, VOCABULARY, "prompt")
    return prompt.ids


def kept_tokens(request: EngineRequest, context_tokens: int) -> tuple[int, ...]:
    """Returns the token ids of a request's prompt, truncated if the request wants that.

    Raises:
        InvalidPrompt: An id is outside the vocabulary, or the truncation does not fit the context.
    """
    return truncated(tokens_of(request.prompt), request.sampling, context_tokens)


def _chat_text(prompt: ChatPrompt) -> str:
    tools = f"<|tools|>{json.dumps(prompt.tools, sort_keys=True)}\n" if prompt.tools else ""
    tools += "".join(f"<|document|>{json.dumps(each, sort_keys=True)}\n" for each in prompt.documents or ())
    messages = (f"<|{message['role']}|>{_content(message.get('content'))}\n" for message in prompt.messages)
    text = f"{tools}{''.join(messages)}"
    if prompt.continue_final_message:
        return text.removesuffix("\n")
    return f"{text}<|assistant|>" if prompt.add_generation_prompt else text


def _content(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, sort_keys=True)


def limit_of(request: EngineRequest, prompt_tokens: int, context_tokens: int) -> int:
    """Returns the number of tokens that a choice may have.

    Raises:
        InvalidPrompt: The prompt is empty, or a parameter names a token that does not exist.
        ContextTooLong: Prompt and answer are longer than the context.
    """
    if request.sampling.suffix:
        raise InvalidPrompt("this model has no tokens for a suffix: it only continues text", "suffix")
    check_token_ids(request.sampling.allowed_token_ids, VOCABULARY, "allowed_token_ids")
    check_token_ids(request.sampling.stop_token_ids, VOCABULARY, "stop_token_ids")
    check_token_ids(request.sampling.logit_bias, VOCABULARY, "logit_bias")
    return token_limit(request.sampling, prompt_tokens, context_tokens)
