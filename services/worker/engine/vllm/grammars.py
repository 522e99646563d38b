"""The form that an answer must have, as it is checked before vLLM sees it."""

import json

from vllm.sampling_params import StructuredOutputsParams

from services.worker.engine.contract import ChatPrompt, EngineRequest
from services.worker.engine.grammar.check import Grammar


def form_of(wanted: StructuredOutputsParams | None) -> Grammar | None:
    """None where nothing of the client's has to be compiled."""
    if wanted is None:
        return None
    if wanted.json is not None:
        return Grammar("json", wanted.json if isinstance(wanted.json, str) else json.dumps(wanted.json))
    if wanted.regex is not None:
        return Grammar("regex", wanted.regex)
    if wanted.grammar is not None:
        return Grammar("grammar", wanted.grammar)
    return Grammar("structural_tag", wanted.structural_tag) if wanted.structural_tag is not None else None


def param_of(request: EngineRequest, form: Grammar) -> str:
    """The OpenAI parameter that it came by; what the request did not ask for comes from its tools."""
    if request.sampling.structure is None:
        return "tools"
    if form.kind == "json":
        return "response_format" if isinstance(request.prompt, ChatPrompt) else "structured_outputs.json"
    return f"structured_outputs.{form.kind}"
