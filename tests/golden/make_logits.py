#!/usr/bin/env python3
"""Write reference logits of small Hugging Face models as JSON.

    python make_logits.py MODELS_DIR [OUT_DIR] [--model NAME ...]

MODELS_DIR holds one folder per model (config.json, model.safetensors,
tokenizer files). Each model gives OUT_DIR/logits_NAME.json; OUT_DIR defaults
to the folder of this script. The files are made once and kept: the Rust tests
compare their forward pass with them and need no Python.

The model runs in float32 on the CPU with plain ("eager") attention. The same
weights are then run as a float64 model, and the largest difference is stored
as "f32_f64_max_abs", so that a test can choose its tolerance from a measured
rounding error instead of guessing one.

Token ids, no tokenizer needed to reproduce them:

    first = 3 if the tokenizer adds BOS else 0   (skips <unk>, <s>, </s>)
    ids[i] = first + (37*i + 11*(i // 5) + 5) mod (vocab - first)
    ids[0] = BOS                                  if the tokenizer adds BOS
"""
import argparse
import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

MODELS = ["stories260K", "babyllama-char-0.9M", "opt-shakespeare-char", "gpt2-shakespeare-char"]
LENGTH = 64
POSITIONS = [0, 1, 7, 31, 63]
# A larger vocabulary is thinned to keep the file small; "kept_ids" then lists the columns.
MAX_VOCAB = 600


def bos_added(folder):
    """The BOS id if the tokenizer puts one before an encoded text, else None."""
    tok = AutoTokenizer.from_pretrained(folder)
    ids = tok("a")["input_ids"]
    return tok.bos_token_id if tok.bos_token_id is not None and ids[0] == tok.bos_token_id else None


def token_ids(vocab, bos):
    first = 0 if bos is None else 3
    ids = [first + (37 * i + 11 * (i // 5) + 5) % (vocab - first) for i in range(LENGTH)]
    if bos is not None:
        ids[0] = bos
    return ids


def number(x):
    """Nine significant digits identify every float32 exactly."""
    return format(x, ".9g")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("models_dir", type=Path)
    ap.add_argument("out_dir", type=Path, nargs="?", default=Path(__file__).resolve().parent)
    ap.add_argument("--model", action="append", help="only this model (may be repeated)")
    args = ap.parse_args()

    for name in args.model or MODELS:
        folder = args.models_dir / name
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        vocab = model.config.vocab_size
        ids = token_ids(vocab, bos_added(folder))
        with torch.no_grad():
            batch = torch.tensor([ids])
            got = model(input_ids=batch, use_cache=False).logits[0]
            assert got.dtype == torch.float32 and torch.isfinite(got).all()
            # transformers keeps norms, softmax and the rotary table in float32 even here:
            # the difference measures the rounding of the matrix products and sums.
            wide = model.double()(input_ids=batch, use_cache=False).logits[0]
        gap = (wide.double() - got.double()).abs().max().item()

        kept = list(range(vocab))
        if vocab > MAX_VOCAB:
            kept = list(range(0, vocab, -(-vocab // MAX_VOCAB)))
        head = {
            "model": name,
            "transformers_version": transformers.__version__,
            "torch_version": torch.__version__,
            "safetensors_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            "f32_f64_max_abs": float(number(gap)),
            "ids": ids,
            "positions": POSITIONS,
        }
        if len(kept) < vocab:
            head["kept_ids"] = kept
        rows = ["[" + ",".join(number(got[p, v].item()) for v in kept) + "]" for p in POSITIONS]
        # Written by hand so that one key, and one position's logits, take one line.
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
        lines.append('"logits": [\n' + ",\n".join(rows) + "\n]")
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        json.loads(text)
        out = args.out_dir / f"logits_{name}.json"
        out.write_text(text)
        print(f"{out.name}: {len(text)} bytes, vocab {vocab}, ids[:4] {ids[:4]}, "
              f"f32 against f64 {gap:.3g}, largest |logit| {got.abs().max().item():.4g}")


if __name__ == "__main__":
    main()
