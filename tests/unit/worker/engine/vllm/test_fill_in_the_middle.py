"""Prompts with a text after the answer."""

from services.worker.engine.vllm.fill_in_the_middle import middle_tokens

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def test_the_model_reads_both_texts_and_then_writes_between_them() -> None:
    tokens = middle_tokens(QWEN)
    assert tokens is not None
    assert tokens.prompt("def ebb(", "):") == "<|fim_prefix|>def ebb(<|fim_suffix|>):<|fim_middle|>"


def test_a_model_without_all_three_tokens_has_no_middle() -> None:
    assert middle_tokens(()) is None
    assert middle_tokens(QWEN[:2]) is None
