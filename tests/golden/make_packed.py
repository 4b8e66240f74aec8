#!/usr/bin/env python3
"""Write checksums of the bytes into which other programs pack a whole layer: packed.json.

    python make_packed.py [OUT_FILE]      (default: packed.json beside this script)

Codes, scales and zero points follow from formulas that tests/packed.rs repeats; each program's own packer makes tensors of
them, and what is kept is the SHA-256 of each. Where a packer starts from weights, these are the numbers that the codes stand
for, exactly, so that it finds the same codes.
"""
import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

ROWS, COLS, GROUP = 64, 96, 32


def numbers(count, seed):
    """The upper half of a multiplicative hash."""
    mixed = (np.arange(count, dtype=np.uint64) + seed) * 2654435761 & 0xFFFFFFFF
    return (mixed >> 16).astype(np.int64)


def layer(bits, seed, symmetric=False):
    """Codes [ROWS, COLS], the first two of each group the smallest and the largest; scales and zero points [ROWS, groups].
    Scales are small multiples of 2^-10. Zero points are in the upper half, so that minima are larger than maxima."""
    most, groups = 2**bits - 1, COLS // GROUP
    codes = (numbers(ROWS * COLS, seed) & most).reshape(ROWS, groups, GROUP)
    codes[:, :, 0], codes[:, :, 1] = 0, most
    scales = ((numbers(ROWS * groups, seed + 1) & 63) + 1) / 1024
    zeros = (numbers(ROWS * groups, seed + 2) & (most >> 1)) + (most + 1) // 2
    if symmetric:
        zeros[:] = (most + 1) // 2
    return codes.reshape(ROWS, COLS), scales.reshape(ROWS, groups), zeros.reshape(ROWS, groups)


def weights(codes, scales, zeros):
    wide = lambda values: np.repeat(values, GROUP, axis=1)
    return torch.tensor((codes - wide(zeros)) * wide(scales), dtype=torch.float32)


def digest(tensor):
    array = tensor.contiguous().numpy() if isinstance(tensor, torch.Tensor) else np.ascontiguousarray(np.array(tensor))
    return hashlib.sha256(array.tobytes()).hexdigest()


def compressed_tensors(found):
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    for bits in (4, 8):
        codes, _, zeros = layer(bits, bits)
        signed = lambda values: torch.tensor(values - 2 ** (bits - 1), dtype=torch.int8)
        found[f"compressed-tensors w{bits}"] = {
            "weight_packed": digest(pack_to_int32(signed(codes), bits)),
            "weight_zero_point": digest(pack_to_int32(signed(zeros), bits, packed_dim=0)),
        }


def gptqmodel(found):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    for bits, symmetric in ((2, True), (4, True), (8, True), (4, False)):
        codes, scales, zeros = layer(bits, 10 + bits, symmetric)
        own = dict(bits=bits, group_size=GROUP, sym=symmetric, desc_act=False, in_features=COLS, out_features=ROWS, bias=False,
                   pack_dtype=torch.int32, register_buffers=True)
        linear = torch.nn.Linear(COLS, ROWS, bias=False)
        linear.weight.data = weights(codes, scales, zeros)
        packed = TorchLinear(**own)
        index = torch.arange(COLS, dtype=torch.int32) // GROUP
        packed.pack_original(linear, torch.tensor(scales, dtype=torch.float32), torch.tensor(zeros, dtype=torch.float32), index)
        if symmetric:
            # Zero points less one.
            convert_gptq_v2_to_v1_format_module(packed, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
        names = ("qweight", "qzeros", "scales", "g_idx")
        found[f"gptq w{bits}{'s' if symmetric else 'a'}"] = {name: digest(getattr(packed, name)) for name in names}
    from gptqmodel.quantization.awq.utils.packing_utils import pack_awq
    codes, _, zeros = layer(4, 30)
    turned = [torch.tensor(values.T.copy(), dtype=torch.int32) for values in (codes, zeros)]
    found["awq w4a"] = dict(zip(("qweight", "qzeros"), map(digest, pack_awq(*turned, 4))))


def mlx(found):
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    for bits in (2, 4, 8):
        words, scales, biases = mx.quantize(mx.array(weights(*layer(bits, 40 + bits)).numpy()), GROUP, bits)
        found[f"mlx w{bits}a"] = {"weight": digest(words), "scales": digest(scales), "biases": digest(biases)}


def transformers(found):
    from transformers.integrations.bitnet import pack_weights
    trits = numbers(ROWS * COLS, 50) % 3 - 1
    # The helper adds to its argument.
    packed = pack_weights(torch.tensor(trits.reshape(ROWS, COLS), dtype=torch.float32).clone())
    found["bitnet"] = {"weight": digest(packed)}


def bitsandbytes(found):
    from bitsandbytes.functional import int8_vectorwise_quant
    values = torch.tensor((numbers(ROWS * COLS, 71_000) - 32768) / 65536, dtype=torch.float16).view(ROWS, COLS)
    codes, scales, _ = int8_vectorwise_quant(values)
    found["bitsandbytes"] = {"weight": digest(codes), "SCB": digest(scales.float())}


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("packed.json"))
    found = {}
    for program in (compressed_tensors, gptqmodel, mlx, transformers, bitsandbytes):
        program(found)
    packages = ("compressed-tensors", "gptqmodel", "mlx", "transformers", "bitsandbytes", "torch")
    result = {"made_with": {name: version(name) for name in packages}, "layers": found}
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
