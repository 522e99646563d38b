"""Binds the arguments of tool calls to the schemas that came with the prompt, in the grammar of vLLM's tool parser.

The chat template reads the tools as the client sent them. The grammar is made from a copy of the request, in which
every function that is bound has its bound schema and is strict. vLLM alone would leave the arguments of a forced call
free unless the client had set `strict`.
"""

from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import Parser
from vllm.sampling_params import StructuredOutputsParams

from services.worker.engine.contract import ChatPrompt, InvalidPrompt


def bound_tools(prompt: ChatPrompt) -> list[dict[str, Any]]:
    """Returns the tools with the schemas that bind, for the grammar only."""
    schemas = prompt.argument_schemas or {}
    tools = []
    for tool in prompt.tools or ():
        function = tool["function"]
        if (schema := schemas.get(function["name"])) is not None:
            # vLLM takes parts out of the schemas that it reads, so it gets a copy.
            tool = {**tool, "function": {**function, "parameters": dict(schema), "strict": True}}
        tools.append(tool)
    return tools


def bound_structure(parser: Parser, bound: ChatCompletionRequest, prompt: ChatPrompt) -> StructuredOutputsParams | None:
    """Returns the grammar that holds the answer to the bound schemas.

    Args:
        parser: of the model's tool calls.
        bound: the request, with `bound_tools`.
        prompt: what the request was made from.

    Raises:
        InvalidPrompt: a call is forced, and this parser has no grammar for that.
    """
    structured = parser.adjust_request(bound).extract_structured_outputs()
    if structured is None and prompt.forces_call:
        raise InvalidPrompt(
            "Unsupported value for 'tool_choice': the tool parser of this model cannot force a call; use 'auto'.",
            "tool_choice",
        )
    return structured
