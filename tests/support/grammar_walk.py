"""Random texts that a grammar of xgrammar lets through, character by character, as a model without any sense would."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from xgrammar import CompiledGrammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, allocate_token_bitmask

from services.worker.engine.grammar.helper import JSON_OPTIONS

VOCABULARY = [*map(chr, range(32, 127)), "é", "\n", "\t", "</s>"]
END = len(VOCABULARY) - 1
# Characters that close something; with them a walk ends, sooner or later.
_CLOSING = frozenset({VOCABULARY.index(character) for character in '"}]'} | {END})
_BITS = 32


def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo(VOCABULARY, stop_token_ids=[END]), max_threads=1)


def of_schema(schema: dict[str, Any]) -> Callable[[GrammarCompiler], CompiledGrammar]:
    """Compiles a schema as the engine does."""
    return lambda made: made.compile_json_schema(json.dumps(schema), **JSON_OPTIONS)


def walk(grammar: CompiledGrammar, random: Random, longest: int = 4000) -> str:
    """Returns a text that the grammar allows, from its start to its end."""
    matcher = GrammarMatcher(grammar)
    mask = allocate_token_bitmask(1, len(VOCABULARY))
    text = ""
    for length in range(longest):
        matcher.fill_next_token_bitmask(mask)
        words = [int(word) for word in mask[0]]
        allowed = [token for token in range(len(VOCABULARY)) if words[token // _BITS] >> (token % _BITS) & 1]
        closing = [token for token in allowed if token in _CLOSING]
        hurries = closing and random.random() < min(0.9, 0.2 + length / 150)
        token = random.choice(closing if hurries else allowed)
        assert matcher.accept_token(token)
        if matcher.is_terminated():
            return text
        text += VOCABULARY[token]
    raise AssertionError(f"no end after {longest} characters: {text[:80]!r}")
