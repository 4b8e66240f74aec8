#!/usr/bin/env python3
"""Write a small packed `bitnet` checkpoint as transformers packs it, with its logits: families/bitnet-packed.

    python make_bitnet.py [OUT_DIR]      (default: families/ beside this script)

Weights are random ternary ones, packed by transformers' own `pack_weights`; half of the scales are read as bf16 would
give them. logits.json holds float32 logits of its `BitLinear` with plain ("eager") attention, twice: "exact", with the
rounding of activations to int8 left out, and "int8", as the class computes. "least_effect" is how far "exact" moves at
the least when the four codes of each byte change places.
"""
import json
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations import bitnet

VOCAB, LENGTH = 64, 24
POSITIONS = [0, 1, 6, 9, 16, 23]
IDS = [1] + [3 + (23 * i + 7) % (VOCAB - 3) for i in range(1, LENGTH)]
NAME = "bitnet-packed"


def make(folder):
    """A checkpoint of an odd shape: 20 input features are no whole word of codes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = AutoConfig.for_model(
        "bitnet", vocab_size=VOCAB, hidden_size=40, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, hidden_act="relu2", rope_parameters=dict(rope_type="default", rope_theta=5e5))
    generator = torch.Generator().manual_seed(11)
    tensors = {}
    for name, p in AutoModelForCausalLM.from_config(config, dtype=torch.float32).named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("_proj.weight"):
            tensors[name] = bitnet.pack_weights(noise.mul(1.2).round().clamp(-1, 1))
            scale = torch.rand(1, generator=generator) * 4 + 4
            tensors[name + "_scale"] = scale.bfloat16() if "mlp" in name else scale
        elif name != "lm_head.weight":
            tensors[name] = 1 + 0.3 * noise if "norm" in name else 0.3 * noise
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    written = config.to_dict()
    written["architectures"] = ["BitNetForCausalLM"]
    written["dtype"] = "float32"
    written["quantization_config"] = dict(
        quant_method="bitnet", linear_class="bitlinear", quantization_mode="offline", modules_to_not_convert=["lm_head"])
    (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n")


def logits(folder, exact):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    original = bitnet.BitLinear.activation_quant
    if exact:
        bitnet.BitLinear.activation_quant = lambda self, x, num_bits=8: (x, torch.ones_like(x[..., :1]))
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    finally:
        bitnet.BitLinear.activation_quant = original


def least_effect(folder, truth):
    other = folder.with_name(NAME + ".other")
    effects = []
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dtype == torch.uint8:
            shutil.copytree(folder, other, dirs_exist_ok=True)
            swapped = (tensor >> 4) | ((tensor & 15) << 4)
            save_file(tensors | {name: swapped}, other / "model.safetensors", metadata={"format": "pt"})
            effects.append((logits(other, True) - truth).abs().max().item())
    shutil.rmtree(other)
    return min(effects)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "families"
    folder = out / NAME
    make(folder)
    exact, int8 = logits(folder, True), logits(folder, False)
    least = least_effect(folder, exact)
    rows = lambda all: "[\n" + ",\n".join(
        "[" + ",".join(format(v.item(), ".9g") for v in all[p]) + "]" for p in POSITIONS) + "\n]"
    head = {"transformers_version": transformers.__version__, "torch_version": torch.__version__,
            "least_effect": least, "ids": IDS, "positions": POSITIONS}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    lines += [f'"logits": {rows(exact)}', f'"int8": {rows(int8)}']
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    json.loads(text)
    (folder / "logits.json").write_text(text)
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{NAME}: int8 against exact {(int8 - exact).abs().max().item():.3g}, least effect {least:.3g}, "
          f"largest |logit| {exact.abs().max().item():.3g}")


if __name__ == "__main__":
    main()
