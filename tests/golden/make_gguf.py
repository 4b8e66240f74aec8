"""What the gguf package makes of layers, a small Llama that it writes, with the logits of its decoded weights, and files
that are damaged or contradictory.

python tests/golden/make_gguf.py      (gguf, numpy, torch, transformers; writes tests/golden/gguf, tests/golden/hostile/gguf)
"""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).parent / "gguf"
ROWS, COLS = 4, 512


def code(i, mask):
    return ((i * 2654435761) % 2**32 >> 13) & mask


def layer(kind, block, levels):
    """Weights whose codes the package finds again: each block has the codes that its range is taken from."""
    i = np.arange(ROWS * COLS, dtype=np.uint64)
    low = 1 if kind == Type.Q8_0 else 0
    codes = np.array([low + code(int(n), 255) % (levels - low) for n in i]).reshape(-1, block)
    codes[:, 0] = low
    codes[:, 1] = levels - 1
    g = np.arange(len(codes))
    scales = ((1024 + (g * 40503) % 1024) / 2**16).astype(np.float32)[:, None]
    middle = {Type.Q4_0: 8, Type.Q8_0: 128, Type.TQ1_0: 1, Type.TQ2_0: 1}.get(kind)
    zeros = (g * 7 % 16)[:, None] if middle is None else middle
    return ((codes - zeros).astype(np.float32) * scales).reshape(ROWS, COLS)


def layers():
    kinds = [(Type.Q4_0, 32, 16), (Type.Q4_1, 32, 16), (Type.Q8_0, 32, 256), (Type.TQ1_0, 256, 3), (Type.TQ2_0, 256, 3)]
    return {kind.name: gguf.quants.quantize(layer(kind, block, levels), kind).tobytes().hex()
            for kind, block, levels in kinds}


HIDDEN, INNER, VOCAB, HEADS, KV = 64, 256, 96, 4, 2


def permuted(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def model():
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(OUT / "foreign.gguf", "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(2)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    words = ["<unk>", "<s>", "</s>", "\u2581"] + [chr(33 + i) for i in range(VOCAB - 6)] + ["ab", "\u2581ab"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * 4 + [-1e4] * (VOCAB - 6) + [-1.0, -2.0])
    writer.add_token_types([2, 3, 3] + [1] * (VOCAB - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    plain = {}

    def add(name, own, shape, kind, heads=None):
        w = (rng.standard_normal(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1) + (len(shape) == 1)).astype(np.float32)
        if kind == Type.Q2_K:
            blocks = rng.integers(0, 256, (shape[0], shape[1] // 256 * 84), dtype=np.uint8).reshape(-1, 84)
            blocks[:, 80:84] = np.array([0.01, 0.012], np.float16).view(np.uint8)
            data = blocks.reshape(shape[0], -1)
        elif kind == Type.F32:
            data = w
        elif kind == Type.F16:
            data = w.astype(np.float16)
        else:
            data = gguf.quants.quantize(permuted(w, heads) if heads else w, kind)
        decoded = gguf.quants.dequantize(data, kind).astype(np.float32).reshape(shape)
        if heads:
            decoded = decoded.reshape(heads, shape[0] // heads // 2, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        plain[own] = torch.tensor(decoded)
        writer.add_tensor(name, data, raw_dtype=kind)

    add("token_embd.weight", "model.embed_tokens.weight", (VOCAB, HIDDEN), Type.Q8_0)
    add("output_norm.weight", "model.norm.weight", (HIDDEN,), Type.F32)
    add("output.weight", "lm_head.weight", (VOCAB, HIDDEN), Type.F16)
    small = [(Type.Q4_0, Type.Q8_0, Type.Q4_1, Type.Q4_0), (Type.Q8_0, Type.Q4_1, Type.BF16, Type.Q4_0)]
    down = [Type.TQ1_0, Type.Q2_K]
    for i in range(2):
        at = f"model.layers.{i}."
        q, k, v, o = small[i]
        add(f"blk.{i}.attn_norm.weight", at + "input_layernorm.weight", (HIDDEN,), Type.F32)
        add(f"blk.{i}.ffn_norm.weight", at + "post_attention_layernorm.weight", (HIDDEN,), Type.F32)
        add(f"blk.{i}.attn_q.weight", at + "self_attn.q_proj.weight", (HIDDEN, HIDDEN), q, HEADS)
        add(f"blk.{i}.attn_k.weight", at + "self_attn.k_proj.weight", (HIDDEN // 2, HIDDEN), k, KV)
        add(f"blk.{i}.attn_v.weight", at + "self_attn.v_proj.weight", (HIDDEN // 2, HIDDEN), v)
        add(f"blk.{i}.attn_output.weight", at + "self_attn.o_proj.weight", (HIDDEN, HIDDEN), o)
        add(f"blk.{i}.ffn_gate.weight", at + "mlp.gate_proj.weight", (INNER, HIDDEN), Type.Q4_0)
        add(f"blk.{i}.ffn_up.weight", at + "mlp.up_proj.weight", (INNER, HIDDEN), Type.Q8_0)
        add(f"blk.{i}.ffn_down.weight", at + "mlp.down_proj.weight", (HIDDEN, INNER), down[i])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = LlamaConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=HEADS,
                         num_key_value_heads=KV, vocab_size=VOCAB, max_position_embeddings=64, rms_norm_eps=1e-5,
                         rope_theta=10000.0, tie_word_embeddings=False)
    llama = LlamaForCausalLM(config).eval()
    llama.load_state_dict(plain)
    tokens = [1] + [3 + (7 * i + i // 3) % (VOCAB - 3) for i in range(15)]
    with torch.no_grad():
        logits = llama(input_ids=torch.tensor([tokens])).logits[0]
    return {"tokens": tokens, "logits": logits.flatten().tolist()}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def u32(value):
    return struct.pack("<II", 4, value)


def words(values):
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


def integers(values):
    return struct.pack(f"<IIQ{len(values)}i", 9, 5, len(values), *values)


SETTINGS = {
    "general.architecture": struct.pack("<I", 8) + text("llama"),
    "llama.context_length": u32(16), "llama.embedding_length": u32(32), "llama.block_count": u32(1),
    "llama.feed_forward_length": u32(32), "llama.attention.head_count": u32(2),
    "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", 6, 1e-5),
    "tokenizer.ggml.model": struct.pack("<I", 8) + text("llama"),
    "tokenizer.ggml.tokens": words(["<unk>", "<s>", "\u2581", "a"]),
    "tokenizer.ggml.scores": struct.pack("<IIQ4f", 9, 6, 4, 0, 0, -1, -2),
    "tokenizer.ggml.token_type": integers([2, 3, 1, 1]),
    "tokenizer.ggml.bos_token_id": u32(1),
}
TENSORS = [("token_embd.weight", [32, 4], 2, 0, 72), ("blk.0.attn_q.weight", [32, 32], 8, 96, 1088)]


def file(settings=None, tensors=TENSORS, version=3, counts=None, cut=None, tail=0):
    settings = list({**SETTINGS, **(settings or {})}.items()) if not isinstance(settings, list) else settings
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(settings))))
    head += b"".join(text(key) + value for key, value in settings if value is not None)
    for name, dims, kind, offset, _ in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    head += bytes(-len(head) % 32)
    data = bytes(max((offset + size for *_, offset, size in tensors), default=0) + tail)
    return (head + data)[:cut]


def one(dims=(32, 4), kind=2, offset=0, size=72):
    return [("token_embd.weight", list(dims), kind, offset, size)]


def hostile():
    """File, and a part of the answer; none where it is taken."""
    few = file()
    return {
        "good": (few, None),
        "nothing": (b"", "magic: 4 bytes wanted, 0 left"),
        "magic": (b"GGML" + few[4:], "does not begin as a GGUF file"),
        "version": (file(version=9), "version 9 of GGUF is not supported"),
        "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        "cut-counts": (few[:20], "number of settings: 8 bytes wanted"),
        "cut-name": (few[:40], "the file is cut off"),
        "cut-data": (few[:-1], "tensor `blk.0.attn_q.weight`: 1088 bytes from 96 on reach beyond"),
        "many-tensors": (file(counts=(2**60, 12)), "number of tensors: 1152921504606846976, which"),
        "many-settings": (file(counts=(2, 2**63)), "number of settings: 9223372036854775808"),
        "long-name": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1) + bytes(64), "name of setting 0: 18446744073709551615"),
        "long-list": (file({"x": struct.pack("<IIQ", 9, 4, 2**40)}), "length of `x`: 1099511627776"),
        "list-of-lists": (file({"x": struct.pack("<IIQ", 9, 9, 1)}), "`x` is a list of type 9"),
        "setting-type": (file({"x": struct.pack("<I", 13)}), "`x` has the unknown type 13"),
        "truth-value": (file({"x": struct.pack("<IB", 7, 2)}), "`x` is 2; a truth value"),
        "no-text": (file({"x": struct.pack("<I", 8) + text(b"a\xff")}), "`x` is no UTF-8 text at byte 1"),
        "setting-twice": (file(list(SETTINGS.items()) + [("general.architecture", u32(1))]), "`general.architecture` occurs twice"),
        "alignment": (file({"general.alignment": u32(3)}), "`general.alignment` is 3; it must be a power of two"),
        "alignment-zero": (file({"general.alignment": u32(0)}), "`general.alignment` is 0"),
        "not-aligned": (file(tensors=one(offset=8)), "its data begins at 8, which is no multiple of 32"),
        "no-axes": (file(tensors=one(dims=())), "has 0 axes"),
        "five-axes": (file(tensors=one(dims=(32, 1, 1, 1, 1))), "has 5 axes"),
        "empty-axis": (file(tensors=one(dims=(32, 0))), "has an axis of 0"),
        "huge-axes": (file(tensors=one(dims=(2**62, 2**62))), "is no possible size"),
        "half-a-block": (file(tensors=one(dims=(48, 4))), "rows must be multiples of 32"),
        "unknown-type": (file(tensors=one(kind=99)), "of the unknown type 99"),
        "other-type": (file(tensors=one(kind=14)), "which is Q6_K, is not supported"),
        "offset-huge": (file(tensors=one(offset=2**64 - 32, size=-(2**64) + 32)), "reach beyond the file"),
        "name-twice": (file(tensors=one() + one(offset=96)), "tensor `token_embd.weight` occurs twice"),
        "overlap": (file(tensors=one() + [("output_norm.weight", [32], 0, 32, 128)]), "its data overlaps that of `token_embd.weight`"),
        "architecture": (file({"general.architecture": struct.pack("<I", 8) + text("mamba")}), "general.architecture `mamba`"),
        "no-heads": (file({"llama.attention.head_count": struct.pack("<I", 8) + text("two")}), "`llama.attention.head_count` is missing or no number"),
        "no-embedding": (file(tensors=[]), "`token_embd.weight` is missing"),
        "heads": (file({"llama.attention.head_count": u32(3)}), "head"),
        "split": (file({"split.count": struct.pack("<IH", 2, 3)}), "one of 3 parts"),
        "token-types": (file({"tokenizer.ggml.token_type": integers([1])}), "has 1 entries for 4 tokens"),
        "token-twice": (file({"tokenizer.ggml.tokens": words(["a", "a", "b", "c"])}), "has \"a\" twice"),
        "scores": (file({"tokenizer.ggml.scores": u32(1)}), "`tokenizer.ggml.scores` has not one number"),
        "tokenizer": (file({"tokenizer.ggml.model": struct.pack("<I", 8) + text("rwkv")}), "tokenizer.ggml.model `rwkv`"),
        "pre": (file({"tokenizer.ggml.model": struct.pack("<I", 8) + text("gpt2"), "tokenizer.ggml.merges": words([]),
                      "tokenizer.ggml.pre": struct.pack("<I", 8) + text("own")}), "tokenizer.ggml.pre `own`"),
    }


def write_hostile():
    folder = OUT.parent / "hostile"
    (folder / "gguf").mkdir(exist_ok=True)
    expected = folder / "expected.json"
    answers = {name: part for name, part in json.loads(expected.read_text()).items() if not name.startswith("gguf/")}
    for name, (content, answer) in hostile().items():
        (folder / "gguf" / name).write_bytes(content)
        answers[f"gguf/{name}"] = answer
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(part, ensure_ascii=False)}" for name, part in answers.items())
    expected.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    (OUT / "layers.json").write_text(json.dumps(layers(), indent=1) + "\n")
    (OUT / "foreign.json").write_text(json.dumps(model()) + "\n")
    write_hostile()
