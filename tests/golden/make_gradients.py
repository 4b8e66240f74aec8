#!/usr/bin/env python3
"""Write the gradients of one block of each architecture: gradients/NAME.safetensors for models of families/.

    python make_gradients.py [OUT_DIR]      (default: gradients/ beside this script)

A file holds, all in float32: "x" and "d_y" [2, tokens, hidden], what goes into the block and the gradient of what comes
out of it; "y", what comes out; "d_x"; and for every parameter of the block its gradient under the parameter's name. The
weight of a Conv1D is transposed to [out, in], as that of a linear layer. x and d_y are float32 values; torch computes in
float64 with plain ("eager") attention, and each result is rounded once.
"""
import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

HERE = Path(__file__).resolve().parent
# More tokens than the window of qwen3's first block.
SEQUENCES, TOKENS = 2, 9
# Model, and which of its blocks.
BLOCKS = {"llama-biases": 1, "qwen3-norms": 0, "opt-unprefixed": 1, "opt-350m-like": 1, "gpt2-tied": 1}


def blocks(model):
    for path in ("model.layers", "model.decoder.layers", "transformer.h"):
        try:
            return path, model.get_submodule(path)
        except AttributeError:
            pass
    raise SystemExit("no blocks")


def gradients(name, index, generator):
    folder = HERE / "families" / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().double()
    path, layers = blocks(model)
    block, seen = layers[index], {}

    def capture(_, args, kwargs):
        seen.update(args=args[1:], kwargs=kwargs)

    # What the model itself hands to the block besides its input: positions, mask.
    hook = block.register_forward_pre_hook(capture, with_kwargs=True)
    with torch.no_grad():
        model(input_ids=torch.full((SEQUENCES, TOKENS), 5), use_cache=False)
    hook.remove()

    hidden = model.config.hidden_size
    x = torch.randn(SEQUENCES, TOKENS, hidden, generator=generator).double().requires_grad_()
    d_y = torch.randn(SEQUENCES, TOKENS, hidden, generator=generator).double()
    y = block(x, *seen["args"], **{k: v for k, v in seen["kwargs"].items() if k != "hidden_states"})
    y = y[0] if isinstance(y, tuple) else y
    y.backward(d_y)
    found = {"x": x.detach(), "d_y": d_y, "y": y.detach(), "d_x": x.grad}
    conv = {f"{n}.weight" for n, m in block.named_modules() if isinstance(m, Conv1D)}
    for part, p in block.named_parameters():
        found[f"{path}.{index}.{part}"] = p.grad.T if part in conv else p.grad
    return {key: value.float().contiguous() for key, value in found.items()}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gradients"
    out.mkdir(parents=True, exist_ok=True)
    for seed, (name, index) in enumerate(BLOCKS.items()):
        found = gradients(name, index, torch.Generator().manual_seed(seed))
        file = out / f"{name}.safetensors"
        save_file(found, file)
        print(f"{file.name}: {file.stat().st_size} bytes, {len(found)} tensors, {', '.join(found)}")


if __name__ == "__main__":
    main()
