"""Perplexity of checkpoints that other programs made, in those programs and here. See README.md."""

import contextlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.filterwarnings("ignore")

import torch

BITSMITH = os.environ.get("BITSMITH", "bitsmith")
MODEL = Path(__file__).resolve().parents[2] / "examples/tiny-llama"
WINDOW, WINDOWS = 128, 32
# What the perplexities may differ by. Clients that compute in 16 bits are asked to do so in 32.
LIMIT = 1e-3


def tokenizer():
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(MODEL)


def windows(name, count):
    ids = tokenizer()((MODEL / name).read_text())["input_ids"]
    return torch.tensor(ids[:count * WINDOW]).view(count, WINDOW)


def perplexity(logits):
    """Over windows that do not overlap, the first token of each as context only."""
    total, count = 0.0, 0
    for batch in windows("validation.txt", WINDOWS).split(8):
        found = logits(batch).float()[:, :-1]
        total += torch.nn.functional.cross_entropy(found.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
        count += batch[:, 1:].numel()
    return float(torch.tensor(total / count, dtype=torch.float64).exp())


def in_transformers(folder):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return perplexity(lambda ids: model(input_ids=ids).logits)


def in_mlx(folder):
    import mlx.core as mx
    from mlx_lm.utils import load_model
    import numpy as np
    mx.set_default_device(mx.cpu)
    model = load_model(folder)[0]
    model.set_dtype(mx.float32)
    return perplexity(lambda ids: torch.tensor(np.array(model(mx.array(ids.numpy())).astype(mx.float32))))


def original():
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


def gptqmodel(act_order):
    def make(folder):
        from gptqmodel import GPTQModel, QuantizeConfig
        config = QuantizeConfig(bits=4, group_size=32, sym=True, desc_act=act_order, device="cpu", offload_to_disk=False)
        source = folder.with_name("source")
        shutil.copytree(MODEL, source)
        model = GPTQModel.load(str(source), config, dtype=torch.float32)
        samples = windows("calibration.txt", 16).tolist()
        model.quantize([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in samples], batch_size=8)
        model.save(str(folder))
    return make


def auto_round(form, symmetric):
    def make(folder):
        from auto_round import AutoRound
        samples = [torch.tensor([ids]) for ids in windows("calibration.txt", 16).tolist()]
        tool = AutoRound(original(), tokenizer(), bits=4, group_size=32, sym=symmetric, iters=4, nsamples=16,
                         seqlen=WINDOW, batch_size=8, amp=False, dataset=samples, device_map="cpu",
                         enable_torch_compile=False)
        tool.quantize()
        tool.save_quantized(str(folder), format=form)
    return make


def mlx_lm(bits, dtype):
    def make(folder):
        import mlx.core as mx
        from mlx_lm import convert
        mx.set_default_device(mx.cpu)
        convert(str(MODEL), str(folder), quantize=True, q_group_size=64, q_bits=bits, dtype=dtype)
    return make


def compressed(**weights):
    def make(folder):
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import (
            QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus, apply_quantization_config)
        inputs = weights.pop("inputs", None)
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights),
                                    input_activations=QuantizationArgs(**inputs) if inputs else None)
        config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"],
                                    quantization_status=QuantizationStatus.FROZEN)
        model = original()
        apply_quantization_config(model, config)
        from compressed_tensors.quantization.utils import calculate_qparams
        for module in model.modules():
            if not hasattr(module, "quantization_scheme"):
                continue
            args = module.quantization_scheme.weights
            wide = args.group_size if args.strategy == "group" else module.weight.shape[1]
            groups = module.weight.data.view(module.weight.shape[0], -1, wide)
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
            module.weight_scale.data.copy_(scale)
            if hasattr(module, "weight_zero_point"):
                module.weight_zero_point.data.copy_(zero)
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        model.save_pretrained(folder)
        compressor.update_config(str(folder))
    return make


def bitsandbytes(folder):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=BitsAndBytesConfig(load_in_8bit=True),
                                                 dtype=torch.float32, device_map="cpu")
    model.save_pretrained(folder)


def bitnet(folder):
    from safetensors.torch import save_file
    from transformers.integrations.bitnet import pack_weights
    model, tensors = original(), {}
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, tensor in model.state_dict().items():
        if name in linear and not name.startswith("lm_head"):
            scale = 1 / tensor.abs().mean()
            tensors[name] = pack_weights((tensor * scale).round().clamp(-1, 1))
            tensors[f"{name}_scale"] = scale.view(1)
        elif not name.startswith("lm_head"):
            tensors[name] = tensor
    folder.mkdir()
    config = model.config.to_dict()
    config["quantization_config"] = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline",
                                     "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})


W8A8 = {"num_bits": 8, "strategy": "token", "symmetric": True, "dynamic": True}
# What was made: the packages that made and read it, how, and in which program it is read.
CASES = {
    "GPTQModel, act-order": (("gptqmodel",), gptqmodel(True), in_transformers),
    "GPTQModel": (("gptqmodel",), gptqmodel(False), in_transformers),
    "auto-round, auto_round": (("auto-round",), auto_round("auto_round", True), in_transformers),
    "auto-round, auto_gptq": (("auto-round",), auto_round("auto_gptq", True), in_transformers),
    "auto-round, auto_awq": (("auto-round",), auto_round("auto_awq", False), in_transformers),
    "mlx_lm convert, 4 bits": (("mlx-lm", "mlx"), mlx_lm(4, "float32"), in_mlx),
    "mlx_lm convert, 8 bits, bf16": (("mlx-lm", "mlx"), mlx_lm(8, "bfloat16"), in_mlx),
    "compressed-tensors, 4 bits": (("compressed-tensors",), compressed(num_bits=4, strategy="group", group_size=32),
                                   in_transformers),
    "compressed-tensors, 8 bits, int8 inputs": (
        ("compressed-tensors",), compressed(num_bits=8, strategy="channel", inputs=W8A8), in_transformers),
    "bitsandbytes, int8": (("bitsandbytes",), bitsandbytes, in_transformers),
    "transformers, bitnet": (("transformers",), bitnet, in_transformers),
}


def ours(folder):
    """The perplexity here, over the same windows."""
    shutil.copy(MODEL / "tokenizer.json", folder)
    done = subprocess.run(
        [BITSMITH, "eval", folder, "--text", MODEL / "validation.txt", "--window", str(WINDOW), "--max-tokens",
         str(WINDOW * WINDOWS), "--device", "cpu", "--json", "--quiet"],
        capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)["perplexity"]


def quietly(work, *arguments):
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            return work(*arguments)
    except Exception:
        print(heard.getvalue()[-2000:], file=sys.stderr)
        raise


def row(name):
    """A row of the table, and whether the perplexities agree."""
    packages, make, read = CASES[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "made"
        quietly(make, folder)
        theirs, here = quietly(read, folder), ours(folder)
    apart = abs(here / theirs - 1)
    by = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    end = "" if apart <= LIMIT else " **FAILED**"
    return f"| {name} | {by} | {theirs:.4f} | {here:.4f} | {100 * apart:.4f} % |{end}", apart <= LIMIT


def table(names):
    print("| made by | versions | perplexity there | here | apart |")
    print("| --- | --- | --- | --- | --- |")
    good = True
    for name in names:
        line, fine = row(name)
        print(line, flush=True)
        good &= fine
    return good


if __name__ == "__main__":
    sys.exit(0 if table(sys.argv[1:] or list(CASES)) else 1)
