#!/usr/bin/env python3
"""Write one small random checkpoint per model family, with its reference logits.

    python make_families.py [OUT_DIR]      (default: families/ beside this script)

OUT_DIR/NAME/ receives config.json, the weights and logits.json. Weights are
drawn so wide that every part of a model moves the logits: what each part is
worth is measured here by leaving it out, and the least of these effects is
stored as "least_effect", so that a test can show its tolerance to be far
below the smallest mistake.

The logits are those of a float32 model on the CPU with plain ("eager")
attention; "f32_f64_max_abs" is the largest difference to the same model in
float64, as in make_logits.py.

Configurations are kept in the spelling of the library that writes them today
(`rope_parameters`, `dtype`, `layer_types`), or in that of older ones
(`rope_theta` with `rope_scaling`, `torch_dtype`, `max_window_layers`): both
are in use, and both are run here to the same logits.
"""
import argparse
import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB, LENGTH = 64, 24
POSITIONS = [0, 1, 6, 9, 16, 23]
# Ids past the special ones, all different but for two repeats of the third: there only the position tells.
IDS = [1] + [3 + (23 * i + 7) % (VOCAB - 3) for i in range(1, LENGTH)]
IDS[7] = IDS[17] = IDS[2]

BASE = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True,
    bos_token_id=1, eos_token_id=2)
OPT = dict(
    vocab_size=VOCAB, hidden_size=32, ffn_dim=40, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=48, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GPT2 = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2)
BASES = {"opt": OPT, "gpt2": GPT2}
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", rope_theta=5000.0, factor=2.0)


def plain(theta=10000.0):
    return dict(rope_type="default", rope_theta=theta)


# Name: model type, changes to its base, storage type, spelling, changes of the config that must be seen in the logits.
FAMILIES = {
    # Wavelengths of a head of 16 are 6, 20, 63, 199 and more: kept below 16, divided above 64, between in between.
    "llama3-rope": ("llama", dict(rope_parameters=LLAMA3, head_dim=16), torch.bfloat16, "new",
                    [dict(rope_parameters=plain()), dict(rope_parameters=dict(LLAMA3, low_freq_factor=0.5)),
                     dict(rope_parameters=dict(LLAMA3, high_freq_factor=8.0)),
                     dict(rope_parameters=dict(LLAMA3, factor=4.0))]),
    "llama-biases": ("llama", dict(rope_parameters=LINEAR, attention_bias=True, mlp_bias=True,
                                   tie_word_embeddings=False), torch.float32, "old",
                     [dict(rope_parameters=plain(5000.0)), dict(rope_parameters=dict(LINEAR, rope_theta=10000.0))]),
    "mistral-window": ("mistral", dict(sliding_window=7, head_dim=12, tie_word_embeddings=False,
                                       rope_parameters=plain(1e6)), torch.bfloat16, "new",
                       [dict(sliding_window=None), dict(sliding_window=8), dict(sliding_window=6)]),
    "qwen2-biases": ("qwen2", dict(use_sliding_window=False, rope_parameters=plain(1e6)), torch.bfloat16, "old",
                     [dict(rope_parameters=plain())]),
    # The window acts from the second layer on.
    "qwen2-window": ("qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1,
                                   tie_word_embeddings=False), torch.float16, "old",
                     [dict(use_sliding_window=False, layer_types=None), dict(max_window_layers=0, layer_types=None),
                      dict(sliding_window=6)]),
    "qwen3-norms": ("qwen3", dict(head_dim=16, rope_parameters=plain(1e6), use_sliding_window=True, sliding_window=6,
                                  layer_types=["sliding_attention", "full_attention"]), torch.bfloat16, "new",
                    [dict(layer_types=["full_attention", "sliding_attention"]),
                     dict(layer_types=["full_attention", "full_attention"])]),
    "smollm": ("llama", dict(hidden_size=36, num_attention_heads=6, num_key_value_heads=2), torch.bfloat16, "new",
               [dict(rope_parameters=plain(20000.0))]),
    # The 350m model of the OPT family is the only one with norms after the sums and with projections.
    "opt-350m-like": ("opt", dict(do_layer_norm_before=False, word_embed_proj_dim=20), torch.float16, "new",
                      [dict(do_layer_norm_before=True), dict(activation_function="gelu_new")]),
    "opt-bare": ("opt", dict(enable_bias=False, layer_norm_elementwise_affine=False, activation_function="gelu",
                             tie_word_embeddings=False), torch.bfloat16, "new",
                 [dict(_remove_final_layer_norm=True), dict(activation_function="relu")]),
    "gpt2-tied": ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), torch.bfloat16, "new",
                  [dict(scale_attn_by_inverse_layer_idx=False), dict(scale_attn_weights=False),
                   dict(activation_function="relu")]),
    "opt-unprefixed": ("opt", dict(_remove_final_layer_norm=True, word_embed_proj_dim=20), torch.float16, "new",
                       [dict(activation_function="gelu")]),
    # Norms before the output and down projections; the base and the activation are not those of Llama.
    "bitnet-norms": ("bitnet", dict(attention_bias=True, rope_parameters=plain(500000.0)), torch.bfloat16, "new",
                     [dict(rope_parameters=plain()), dict(hidden_act="silu"), dict(hidden_act="relu")]),
}
# Stored in pieces with an index.
SHARDED = "qwen3-norms"
# Stored without the head and the name it gives the rest, as the published GPT-2 and some copies of OPT are.
BARE = ["gpt2-tied", "opt-unprefixed"]
# What the names of norms contain.
NORMS = ("norm", "ln_")


def is_norm(name):
    return any(part in name for part in NORMS)


def randomize(model, generator):
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator) * 0.3
            p.copy_(1 + noise if is_norm(name) else noise)


def logits(folder, dtype=torch.float32, edit=None, **changes):
    """Logits of the stored model, its config changed, its parameters edited."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in changes.items():
        setattr(config, key, value)
    if changes.get("layer_types", 0) is None:
        config = type(config)(**config.to_dict())
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager").eval().to(dtype)
    if edit:
        with torch.no_grad():
            edit(dict(model.named_parameters()))
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]


def effects(folder, truth, alternatives):
    """How far the logits move when a part is left out, or another value taken for it."""
    gap = lambda other: (other - truth).abs().max().item()
    for changes in alternatives:
        yield str(changes), gap(logits(folder, **changes))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, _ in model.named_parameters():
        if model.config.model_type == "opt" and name.endswith("k_proj.bias"):
            # Without rotation it adds the same to all scores of a query, which changes nothing.
            continue
        # Without a bias; without the weight of a norm; with the input features of a matrix in reverse order.
        if name.endswith("bias"):
            neutral = torch.Tensor.zero_
        elif is_norm(name):
            neutral = lambda p: p.fill_(1)
        else:
            neutral = lambda p: p.copy_(p.flip(-1).clone())
        yield name, gap(logits(folder, edit=lambda ps: neutral(ps[name])))


def respell(path, model_type):
    """The config as older versions of the library wrote it."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype")
    if model_type == "qwen2":
        del config["layer_types"]
    path.write_text(json.dumps(config, indent=2) + "\n")


def number(x):
    """Nine significant digits identify every float32 exactly."""
    return format(x, ".9g")


def make(name, out, generator):
    model_type, changes, dtype, spelling, alternatives = FAMILIES[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    config = AutoConfig.for_model(model_type, **(BASES.get(model_type, BASE) | changes))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, generator)
    stored = model.base_model if name in BARE else model
    stored.to(dtype).save_pretrained(folder, max_shard_size="16KB" if name == SHARDED else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)
    truth = logits(folder)
    if spelling == "old":
        respell(folder / "config.json", model_type)
        assert torch.equal(logits(folder), truth), name
    assert truth.dtype == torch.float32 and torch.isfinite(truth).all()
    gap = (logits(folder, dtype=torch.float64) - truth.double()).abs().max().item()
    least, part = min((effect, part) for part, effect in effects(folder, truth, alternatives))

    head = {
        "transformers_version": transformers.__version__,
        "torch_version": torch.__version__,
        "f32_f64_max_abs": float(number(gap)),
        "least_effect": float(number(least)),
        "least_effect_of": part,
        "ids": IDS,
        "positions": POSITIONS,
    }
    rows = ["[" + ",".join(number(v.item()) for v in truth[p]) + "]" for p in POSITIONS]
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    text = "{\n" + ",\n".join(lines) + ',\n"logits": [\n' + ",\n".join(rows) + "\n]\n}\n"
    json.loads(text)
    (folder / "logits.json").write_text(text)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes, f32 against f64 {gap:.3g}, largest |logit| {truth.abs().max().item():.4g}, "
          f"least effect {least:.3g} of {part}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out_dir", type=Path, nargs="?", default=Path(__file__).resolve().parent / "families")
    out = ap.parse_args().out_dir
    generator = torch.Generator().manual_seed(7)
    for name in FAMILIES:
        make(name, out, generator)


if __name__ == "__main__":
    main()
