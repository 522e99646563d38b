"""The grammar of a request with structured output, in the form that GrammarCheck reads."""

import json

from vllm.sampling_params import StructuredOutputsParams

from services.worker.engine.contract import ChatPrompt, EngineRequest
from services.worker.engine.grammar.check import Grammar


def grammar_of(structured: StructuredOutputsParams | None) -> Grammar | None:
    """Returns the grammar that has to be compiled, or None if there is none (`json_object` needs no check)."""
    if structured is None:
        return None
    if structured.json is not None:
        return Grammar("json", structured.json if isinstance(structured.json, str) else json.dumps(structured.json))
    if structured.regex is not None:
        return Grammar("regex", structured.regex)
    if structured.grammar is not None:
        return Grammar("grammar", structured.grammar)
    return Grammar("structural_tag", structured.structural_tag) if structured.structural_tag is not None else None


def grammar_param(request: EngineRequest, grammar: Grammar) -> str:
    """Returns the OpenAI parameter that the grammar came from: `tools` if it is, at least in part, that of calls."""
    structure = request.sampling.structure
    if structure is None or (grammar.kind == "structural_tag" and structure.kind != "structural_tag"):
        return "tools"
    if grammar.kind == "json":
        return "response_format" if isinstance(request.prompt, ChatPrompt) else "structured_outputs.json"
    return f"structured_outputs.{grammar.kind}"
