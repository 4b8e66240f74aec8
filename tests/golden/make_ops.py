#!/usr/bin/env python3
"""Write ops.json: small inputs and outputs of single operations.

    python make_ops.py [OUT_FILE]      (default: ops.json beside this script)

Inputs are float32 values. Each result is computed from them with torch in
float64 and rounded once to float32, so a test measures only the error of the
code under test. Numbers carry nine significant digits, which identify a
float32 exactly. A tensor is {"shape": [...], "data": [...]}, flat, row-major.
Layouts and conventions are in the "note" of each entry.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

gen = torch.Generator().manual_seed(20)


def rand(*shape, scale=1.0):
    """Float32 normal values, widened: everything after this runs in float64."""
    return (torch.randn(*shape, generator=gen) * scale).float().double()


def f32(*values):
    return torch.tensor(values, dtype=torch.float32).double()


class Num:
    """A float32 to be printed with nine significant digits."""
    def __init__(self, x):
        self.text = format(torch.tensor(x, dtype=torch.float64).float().item(), ".9g")


def t(x):
    assert torch.isfinite(x).all()
    if x.dtype == torch.int64:
        return {"shape": list(x.shape), "data": x.flatten().tolist()}
    return {"shape": list(x.shape), "data": [Num(v) for v in x.flatten().tolist()]}


def dump(x, depth=0):
    """JSON with one key per line, except that a tensor stays on one line."""
    pad = "  " * (depth + 1)
    if isinstance(x, Num):
        return x.text
    if isinstance(x, dict) and "data" not in x:
        return "{\n" + ",\n".join(f"{pad}{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in x.items()) \
            + "\n" + "  " * depth + "}"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {dump(v)}" for k, v in x.items()) + "}"
    if isinstance(x, list):
        return "[" + ",".join(dump(v) for v in x) + "]"
    return json.dumps(x)


def norms():
    eps = 1e-5
    x, w, b = rand(2, 5), rand(5, scale=0.3) + 1.0, rand(5, scale=0.5)
    w = w.float().double()
    x[1] = (x[1] * 1e-3).float().double()       # a small row, where eps matters
    rms = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w
    return {
        "rms_norm": {"note": "y = x / sqrt(mean(x^2) + eps) * weight, per row", "eps": eps,
                     "x": t(x), "weight": t(w), "y": t(rms)},
        "layer_norm": {"note": "biased variance, per row", "eps": eps, "x": t(x), "weight": t(w), "bias": t(b),
                       "y": t(F.layer_norm(x, (5,), w, b, eps))},
    }


def rope():
    dim, heads, positions = 8, 2, [0, 1, 5, 100]
    cases = {
        "rope_default": {"rope_type": "default", "rope_theta": 10000.0},
        "rope_linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        "rope_llama3": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    }
    out = {}
    for name, params in cases.items():
        config = LlamaConfig(hidden_size=dim * heads, num_attention_heads=heads, head_dim=dim,
                             max_position_embeddings=131072, rope_parameters=dict(params))
        if params["rope_type"] in ROPE_INIT_FUNCTIONS:
            inv_freq, factor = ROPE_INIT_FUNCTIONS[params["rope_type"]](config, "cpu")
        else:
            # transformers 5 keeps the unscaled case in the model instead of the table.
            from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
            inv_freq, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
        assert factor == 1.0
        x = rand(len(positions), heads, dim)
        angle = f32(*positions)[:, None] * inv_freq.double()[None, :]
        angle = torch.cat([angle, angle], -1)[:, None, :]
        half = torch.cat([-x[..., dim // 2:], x[..., : dim // 2]], -1)
        out[name] = {
            "note": "rotate-half: element i pairs with i + dim/2; angle = position * inv_freq (float32 inv_freq of "
                    "transformers, product and sine in float64); x and y are [token, head, dim]",
            **params, "head_dim": dim, "positions": positions, "inv_freq": t(inv_freq.double()),
            "x": t(x), "y": t(x * angle.cos() + half * angle.sin()),
        }
    return out


def attention():
    heads, kv, dim, q_len, past = 4, 2, 4, 3, 2
    total = past + q_len
    q, k, v = rand(1, heads, q_len, dim), rand(1, kv, total, dim), rand(1, kv, total, dim)
    kk, vv = (z.repeat_interleave(heads // kv, dim=1) for z in (k, v))
    score = q @ kk.transpose(-1, -2) / dim ** 0.5
    hidden = torch.arange(total)[None, :] > torch.arange(q_len)[:, None] + past
    y = score.masked_fill(hidden, float("-inf")).softmax(-1) @ vv
    return {"attention": {
        "note": "causal, grouped: query head h reads key/value head h / (heads / kv_heads); query i is at position "
                "past + i and sees keys 0..=past+i; scale 1/sqrt(dim). q and y are [batch, head, token, dim], "
                "k and v [batch, kv_head, past + token, dim]. y_rows is y as [token, head * dim]",
        "heads": heads, "kv_heads": kv, "dim": dim, "q_len": q_len, "past": past,
        "q": t(q), "k": t(k), "v": t(v), "y": t(y), "y_rows": t(y[0].transpose(0, 1).reshape(q_len, heads * dim)),
    }}


def activations():
    x = torch.cat([f32(0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, -6.0, 20.0, -20.0, 1e-4, -1e-4), rand(11)])
    g, u = torch.cat([f32(0.0, 30.0, -30.0, 1.0, -1.0), rand(7, scale=2.0)]), rand(12)
    return {
        "gelu_exact": {"note": "x * Phi(x), Phi by erf", "x": t(x), "y": t(F.gelu(x))},
        "gelu_tanh": {"note": "0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))", "x": t(x),
                      "y": t(F.gelu(x, approximate="tanh"))},
        "relu": {"x": t(x), "y": t(F.relu(x))},
        "relu2": {"note": "max(x, 0)^2", "x": t(x), "y": t(F.relu(x).square())},
        "silu_gate": {"note": "y = g * sigmoid(g) * u", "g": t(g), "u": t(u), "y": t(F.silu(g) * u)},
    }


def losses():
    a = rand(3, 7, scale=2.0)
    # Row 2 overflows a softmax that does not subtract the row maximum first.
    a[2] = (a[2] * 20 + 120).float().double()
    targets = torch.tensor([3, 0, 6])
    p, q = rand(2, 7, scale=2.0), rand(2, 7, scale=2.0)
    q[1] = (p[1] + 0.01 * q[1]).float().double()  # nearly equal rows: KL is a small difference of large terms
    lp, lq = p.log_softmax(-1), q.log_softmax(-1)
    return {
        "nll": {"note": "y[r] = -log_softmax(logits[r])[targets[r]], nats", "logits": t(a), "targets": t(targets),
                "y": t(F.cross_entropy(a, targets, reduction="none"))},
        "kl": {"note": "y[r] = sum_i P_i (ln P_i - ln Q_i), P and Q the softmax of each row, nats",
               "p_logits": t(p), "q_logits": t(q), "y": t((lp.exp() * (lp - lq)).sum(-1))},
    }


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().with_name("ops.json")
    ops = {"torch_version": torch.__version__, "transformers_version": transformers.__version__}
    for part in (norms, rope, attention, activations, losses):
        ops.update(part())
    text = dump(ops) + "\n"
    json.loads(text)
    out.write_text(text)
    print(f"{out.name}: {len(text)} bytes, {len(ops) - 2} operations")


if __name__ == "__main__":
    main()
