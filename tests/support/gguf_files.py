"""A tiny GGUF file: a Llama with random weights and a token for each byte."""

from pathlib import Path

import numpy as np

WIDTH, LAYERS, HEADS, CONTEXT = 32, 1, 2, 128
_INNER = 64
_SPECIAL = ("<pad>", "<s>", "</s>")
_CONTROL, _NORMAL = 3, 1


def write_gguf(file: Path, seed: int = 1) -> Path:
    """Writes the file, and returns it."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*_SPECIAL, *sorted(ByteLevel.alphabet()), "ab"]
    writer = GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL] * len(_SPECIAL) + [_NORMAL] * (len(tokens) - len(_SPECIAL)))
    writer.add_token_merges(["a b"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(seed)
    for name, shape in _shapes(len(tokens)).items():
        norm = len(shape) == 1
        writer.add_tensor(name, np.ones(shape, np.float32) if norm else random.normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    square, up = (WIDTH, WIDTH), (_INNER, WIDTH)
    layer = {"attn_norm": (WIDTH,), "attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    layer |= {"ffn_norm": (WIDTH,), "ffn_gate": up, "ffn_up": up, "ffn_down": (WIDTH, _INNER)}
    outer = {"token_embd": (vocabulary, WIDTH), "output_norm": (WIDTH,), "output": (vocabulary, WIDTH)}
    shapes = {f"{name}.weight": shape for name, shape in outer.items()}
    return shapes | {f"blk.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in layer.items()}
