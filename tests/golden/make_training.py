#!/usr/bin/env python3
"""Write training.json: parameters moved by optimisers, lengths of steps, losses with the gradients of their logits.

    python make_training.py [OUT_FILE]      (default: training.json beside this script)

Inputs are float32 values; torch computes in float64 and each result is rounded
once to float32. The format is that of ops.json.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup
from transformers import get_linear_schedule_with_warmup

import make_ops
from make_ops import dump, f32, rand, t

make_ops.gen.manual_seed(21)


def adamw(steps, **settings):
    """A parameter after each of some steps, whose gradients are given; the rate falls in a line."""
    start, gradients = rand(6), rand(steps, 6)
    gradients[:, 0] *= 1e-6
    gradients[1:, 1] = 0.0
    gradients = gradients.float().double()
    parameter = start.clone().requires_grad_()
    optimiser = torch.optim.AdamW([parameter], **settings)
    rate, seen = settings["lr"], []
    for i in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - i / steps)
        parameter.grad = gradients[i].clone()
        optimiser.step()
        seen.append(parameter.detach().clone())
    state = optimiser.state[parameter]
    return {**settings, "start": t(start), "gradients": t(gradients), "after": t(torch.stack(seen)),
            "first": t(state["exp_avg"]), "second": t(state["exp_avg_sq"])}


def schedules():
    def factors(make, steps):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule, seen = make(optimiser), []
        for _ in range(steps + 1):
            seen.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        return t(f32(*seen))

    out = []
    for steps, warmup in [(8, 0), (13, 3), (7, 1)]:
        out.append({
            "steps": steps, "warmup": warmup,
            "constant": factors(lambda o: get_constant_schedule_with_warmup(o, warmup), steps),
            "linear": factors(lambda o: get_linear_schedule_with_warmup(o, warmup, steps), steps),
            "cosine": factors(lambda o: get_cosine_schedule_with_warmup(o, warmup, steps), steps),
        })
    plain = torch.optim.lr_scheduler.LinearLR
    out.append({"steps": 10, "warmup": 0, "linear": factors(
        lambda o: plain(o, start_factor=1.0, end_factor=0.0, total_iters=10), 10)})
    return out


def losses():
    logits = rand(4, 9, scale=2.0)
    # Row 2 overflows a softmax that does not subtract the row maximum first.
    logits[2] = (logits[2] * 20 + 120).float().double()
    targets = torch.tensor([3, -100, 8, 0])
    x = logits.clone().requires_grad_()
    loss = F.cross_entropy(x, targets)
    loss.backward()
    nll = {"note": "mean over the targets that are not -100; gradient is that of the logits",
           "logits": t(logits), "targets": t(targets), "loss": t(loss.detach().reshape(1)), "gradient": t(x.grad)}
    reference, model = rand(3, 9, scale=2.0), rand(3, 9, scale=2.0)
    model[1] = (reference[1] + 0.01 * model[1]).float().double()
    x = model.clone().requires_grad_()
    loss = F.kl_div(x.log_softmax(-1), reference.log_softmax(-1), log_target=True, reduction="batchmean")
    loss.backward()
    kl = {"note": "mean over the rows of KL(reference || model); gradient is that of the model's logits",
          "reference": t(reference), "model": t(model), "loss": t(loss.detach().reshape(1)), "gradient": t(x.grad)}
    return {"cross_entropy": nll, "kl": kl}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().with_name("training.json")
    found = {"torch_version": torch.__version__, "transformers_version": transformers.__version__,
             "adamw": adamw(6, lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
             "adamw_decay": adamw(4, lr=0.1, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.3),
             "schedules": schedules(), **losses()}
    text = dump(found) + "\n"
    json.loads(text)
    out.write_text(text)
    print(f"{out.name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
