#!/usr/bin/env python3
"""Train the tiny Llama and save it in bfloat16 in the Hugging Face layout.

    python train.py TRAIN_TXT TOKENIZER_DIR OUT_DIR [--steps N]

Stories are encoded as <s> + tokens and joined; </s> is never used, the next
<s> ends a story. Each epoch cuts the stream into windows of 256 tokens from a
new random offset, so that stories are seen at all positions of the window.

The seeds are fixed, but sums in other orders (another number of threads,
another CPU or torch) round differently, so a new run gives a model of the same
quality and not the same bytes.
"""
import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

SEPARATOR = "<|endoftext|>"
SEQ, BATCH = 256, 16
PEAK_LR, LAST_LR, WARMUP = 3e-3, 1e-4, 100


def learning_rate(step, steps):
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    x = (step - WARMUP) / max(1, steps - WARMUP)
    return LAST_LR + (PEAK_LR - LAST_LR) * 0.5 * (1 + math.cos(math.pi * x))


def batches(stream, gen):
    """Endless batches; only whole ones, the rest of an epoch is dropped."""
    while True:
        start = int(torch.randint(SEQ, (1,), generator=gen))
        count = (len(stream) - start) // SEQ
        windows = stream[start:start + count * SEQ].view(count, SEQ)
        for rows in torch.randperm(count, generator=gen).split(BATCH):
            if len(rows) == BATCH:
                yield windows[rows]


def save(model, out_dir):
    model.to(torch.bfloat16).save_pretrained(out_dir)
    # transformers 5 writes rope_parameters and dtype; older readers look for
    # rope_theta and torch_dtype at the top level. Keep both spellings.
    path = out_dir / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = 10000.0
    config["torch_dtype"] = "bfloat16"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    # Generation may stop at <s> too, because that is what ends a story here.
    (out_dir / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": 1, "eos_token_id": [1, 2]}, indent=2) + "\n")


def main():
    ap = argparse.ArgumentParser(description="Train the tiny Llama.")
    ap.add_argument("train_txt", type=Path)
    ap.add_argument("tokenizer_dir", type=Path)
    ap.add_argument("out_dir", type=Path)
    ap.add_argument("--steps", type=int, default=3400)
    args = ap.parse_args()

    tok = Tokenizer.from_file(str(args.tokenizer_dir / "tokenizer.json"))
    stories = [s.strip() for s in args.train_txt.read_text(encoding="utf-8").split(SEPARATOR)]
    stories = [s for s in stories if s]
    stream = torch.tensor([i for e in tok.encode_batch(stories) for i in e.ids])
    print(f"{len(stories)} stories, {len(stream)} tokens", flush=True)

    torch.manual_seed(7)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=256, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True,
        hidden_act="silu", attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2,
        initializer_range=0.02))
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    # Weight decay for the matrices only; norm weights should stay near one.
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.95))

    source, begin, mean = batches(stream, torch.Generator().manual_seed(11)), time.time(), None
    for step in range(args.steps):
        for g in opt.param_groups:
            g["lr"] = learning_rate(step, args.steps)
        x = next(source)
        logits = model(input_ids=x, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 512), x[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99 or step + 1 == args.steps:
            print(f"step {step + 1}: loss {mean:.4f}, ppl {math.exp(mean):.3f}, {time.time() - begin:.0f} s", flush=True)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    save(model, args.out_dir)


if __name__ == "__main__":
    main()
