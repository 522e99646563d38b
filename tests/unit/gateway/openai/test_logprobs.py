"""Log probabilities of tokens, whole characters or parts of them."""

from services.gateway.openai import logprobs
from tidegate.worker.v1 import worker_pb2

PARTS = [b"a ", b"\xf0\x9f", b"\x8c\x8a", b"\xf0\x9f\x8c", b"\x8a", b"b"]
TEXT = "a \U0001f30a\U0001f30ab"


def token(part: bytes, *top: tuple[bytes, float]) -> worker_pb2.TokenLogprob:
    likeliest = [worker_pb2.TopLogprob(token=other, logprob=logprob) for other, logprob in top]
    return worker_pb2.TokenLogprob(token=part, logprob=-5, top=likeliest)


def test_each_part_of_a_character_has_its_own_bytes_and_all_together_are_the_text() -> None:
    shown = logprobs.response(map(token, PARTS))
    assert [entry["bytes"] for entry in shown] == [list(part) for part in PARTS]
    assert bytes(byte for entry in shown for byte in entry["bytes"]).decode() == TEXT
    assert [entry["token"] for entry in shown] == ["a ", "\\xf0\\x9f", "\\x8c\\x8a", "\\xf0\\x9f\\x8c", "\\x8a", "b"]
    assert logprobs.response([token(b" \xf0\x9f")])[0]["token"] == " \\xf0\\x9f"


def test_offsets_are_those_of_the_characters_however_deltas_are_cut() -> None:
    whole = logprobs.CompletionLogprobs().take(map(token, PARTS))
    assert whole
    assert whole["text_offset"] == [0, 2, 2, 3, 3, 4]
    assert whole["tokens"] == [
        "a ",
        "bytes:\\xf0\\x9f",
        "bytes:\\x8c\\x8a",
        "bytes:\\xf0\\x9f\\x8c",
        "bytes:\\x8a",
        "b",
    ]
    pieces = logprobs.CompletionLogprobs()
    taken = [pieces.take([token(part)]) for part in PARTS]
    assert [offset for piece in taken if piece for offset in piece["text_offset"]] == whole["text_offset"]


def test_parts_of_different_characters_are_different_candidates() -> None:
    shown = logprobs.CompletionLogprobs().take([token(b"\xf0", (b"\xe6", -1), (b"\xe7", -2), (b"\xf0", -5))])
    assert shown
    assert shown["top_logprobs"] == [{"bytes:\\xe6": -1, "bytes:\\xe7": -2, "bytes:\\xf0": -5}]


def test_the_likeliest_tokens_of_a_completion_include_the_chosen_one() -> None:
    shown = logprobs.CompletionLogprobs().take([token(b"x", (b"a", -1), (b"b", -2)), token(b"y")])
    assert shown
    assert shown["top_logprobs"] == [{"a": -1, "b": -2, "x": -5}, {"y": -5}]
    assert logprobs.response([token(b"x", (b"a", -1))])[0]["top_logprobs"][0]["token"] == "a"
