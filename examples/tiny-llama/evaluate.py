#!/usr/bin/env python3
"""Perplexity and a greedy sample of a model folder, computed in float32.

    python evaluate.py MODEL_DIR TEXT [--window L ...] [--prompt P]

Perplexity: split the text on <|endoftext|>, strip, drop empty stories, encode
each as <s> + tokens, join all, cut into windows of L tokens that do not
overlap and drop the tail. The first token of a window is only context, the
other L-1 are scored. ppl = exp(total negative log-likelihood / scored tokens).
"""
import argparse
import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SEPARATOR = "<|endoftext|>"


@torch.no_grad()
def perplexity(model, ids, window):
    rows = torch.tensor(ids[:len(ids) // window * window]).view(-1, window)
    total, scored = 0.0, 0
    for x in rows.split(32):
        logits = model(input_ids=x, use_cache=False).logits
        nll = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), x[:, 1:].reshape(-1), reduction="none")
        total += nll.double().sum().item()
        scored += nll.numel()
    return math.exp(total / scored), scored


@torch.no_grad()
def greedy(model, tok, prompt, count):
    ids = tok(prompt)["input_ids"]
    for _ in range(count):
        ids.append(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item())
    return tok.decode(ids)


def main():
    ap = argparse.ArgumentParser(description="Perplexity and a greedy sample.")
    ap.add_argument("model_dir", type=Path)
    ap.add_argument("text", type=Path)
    ap.add_argument("--window", type=int, action="append", help="default: 256 and 128")
    ap.add_argument("--prompt", default="Once upon a time")
    ap.add_argument("--sample", type=int, default=60, help="tokens to generate")
    args = ap.parse_args()

    tok = AutoTokenizer.from_pretrained(args.model_dir)
    model = AutoModelForCausalLM.from_pretrained(args.model_dir, dtype=torch.float32).eval()
    stories = [s.strip() for s in args.text.read_text(encoding="utf-8").split(SEPARATOR)]
    ids = [i for s in stories if s for i in tok(s)["input_ids"]]
    for window in args.window or [256, 128]:
        ppl, scored = perplexity(model, ids, window)
        print(f"window {window}: {len(ids)} tokens, {scored} scored, perplexity {ppl:.5f}")
    print(greedy(model, tok, args.prompt, args.sample))


if __name__ == "__main__":
    main()
