"""Logits of other programs from our files, against those of weights that are decoded here. See README.md."""

import contextlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.filterwarnings("ignore")

import numpy as np
import torch
from safetensors.torch import load_file, save_file

BITSMITH = os.environ.get("BITSMITH", "bitsmith")
ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("BITSMITH_SHARED", ROOT.parent / "shared"))
# Hidden and inner widths are multiples of 256, so that no format refuses a layer.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}
# Compute in 32 bits / in 16 bits / with activations of 8 bits.
EXACT, HALF, INT8 = 1e-4, 5e-3, 5e-2


def random_model(folder):
    """A Llama whose groups differ in size, so that a scale in the wrong place shows."""
    torch.manual_seed(1)
    h, i, v = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    def matrix(rows, cols):
        sizes = torch.exp(torch.randn(rows, cols // 32) * 0.5).repeat_interleave(32, 1)
        return torch.randn(rows, cols) * sizes * cols**-0.5
    shapes = {"q": (h, h), "k": (h // 2, h), "v": (h // 2, h), "o": (h, h)}
    tensors = {"model.embed_tokens.weight": torch.randn(v, h), "lm_head.weight": torch.randn(v, h) * h**-0.5,
               "model.norm.weight": torch.ones(h)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        tensors |= {f"{at}self_attn.{n}_proj.weight": matrix(*s) for n, s in shapes.items()}
        tensors |= {f"{at}mlp.{n}_proj.weight": matrix(i, h) for n in ("gate", "up")}
        tensors |= {f"{at}mlp.down_proj.weight": matrix(h, i)}
        tensors |= {f"{at}{n}_layernorm.weight": torch.ones(h) for n in ("input", "post_attention")}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def config(folder):
    """That of a model, or of what it is compared with where it has none in JSON."""
    own = folder / "config.json"
    return json.loads((own if own.exists() else folder.with_name("reference") / "config.json").read_text())


def tokens(folder):
    """Some that every vocabulary has."""
    most = config(folder)["vocab_size"]
    return [(3 + i * 29 + 7 * (i // 4)) % most for i in range(48)]


def fields(tensor, bits):
    """The codes of each row of words, lowest bits first."""
    stream = np.unpackbits(tensor.contiguous().numpy().view(np.uint8), axis=1, bitorder="little")
    return (stream.reshape(len(stream), -1, bits).astype(np.int64) << np.arange(bits)).sum(-1)


def decoded(source, folder):
    """The model of a compressed-tensors folder in floating point."""
    tensors, plain = load_file(source / "model.safetensors"), {}
    own = config(source)
    groups = own.pop("quantization_config")["config_groups"].values()
    bits = next(iter(groups))["weights"]["num_bits"]
    for name, tensor in tensors.items():
        path, _, part = name.rpartition(".")
        scale = tensors.get(f"{path}.weight_scale")
        if part == "weight_packed":
            rows, cols = tensors[f"{path}.weight_shape"].tolist()
            scale = scale.reshape(-1, 1) if scale.ndim < 2 else scale
            wide = cols // scale.shape[1]
            zero = 2 ** (bits - 1)
            if f"{path}.weight_zero_point" in tensors:
                zero = fields(tensors[f"{path}.weight_zero_point"].t(), bits)[:, :rows].T.repeat(wide, 1)
            steps = torch.tensor(fields(tensor, bits)[:, :cols] - zero).float()
            weight = steps * scale.float().repeat_interleave(wide, 1)
            plain[f"{path}.weight"] = weight.t() if is_transposed(own, path) else weight
        elif part == "weight" and tensor.dtype == torch.int8:
            weight = tensor.float() * scale.float()
            plain[name] = weight.t() if is_transposed(own, path) else weight
        elif not part.startswith("weight_"):
            plain[name] = tensor.float()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(own | {"torch_dtype": "float32"}))
    save_file({k: v.contiguous() for k, v in plain.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def is_transposed(own, path):
    """Whether the model's own code keeps this layer as `[in, out]`."""
    return own["model_type"] == "gpt2" and path != "lm_head"


def transformers(folder):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens(folder)])).logits[0].float().numpy()


def gguf_by_transformers(folder):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens(folder)])).logits[0].float().numpy()


def gguf_by_gguf(folder):
    """Logits of the weights that the gguf package decodes, under the names and in the order of rows of a Llama."""
    import gguf
    from transformers import LlamaConfig, LlamaForCausalLM
    ends = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_output": "self_attn.o_proj"}
    parts |= {f"attn_{n}": f"self_attn.{n}_proj" for n in "qkv"} | {f"ffn_{n}": f"mlp.{n}_proj" for n in ("gate", "up", "down")}
    own = config(folder)
    heads = {"attn_q": own["num_attention_heads"], "attn_k": own["num_key_value_heads"]}
    plain = {}
    for tensor in gguf.GGUFReader(folder / "model.gguf").tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        path = tensor.name.removesuffix(".weight")
        block, _, part = path.removeprefix("blk.").partition(".")
        if part in heads:
            weight = weight.reshape(heads[part], -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        name = f"model.layers.{block}.{parts[part]}" if part else ends[path]
        plain[f"{name}.weight"] = torch.tensor(np.ascontiguousarray(weight))
    if own["tie_word_embeddings"]:
        plain["lm_head.weight"] = plain["model.embed_tokens.weight"]
    model = LlamaForCausalLM(LlamaConfig(**own)).float().eval()
    model.load_state_dict(plain)
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens(folder)])).logits[0].float().numpy()


def llama_cpp(folder):
    """Rounds activations to 8 bits."""
    import llama_cpp as llama
    llama.llama_backend_init()
    settings = llama.llama_model_default_params()
    settings.n_gpu_layers = 0
    # The weights as they are in the file, not repacked for one processor.
    settings.use_extra_bufts = False
    model = llama.llama_model_load_from_file(str(folder / "model.gguf").encode(), settings)
    ids, vocabulary = tokens(folder), config(folder)["vocab_size"]
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 64
    # Keys and values in f32.
    settings.type_k = settings.type_v = 0
    context = llama.llama_init_from_model(model, settings)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
    assert llama.llama_decode(context, batch) == 0, "llama.cpp computes nothing"
    rows = [llama.llama_get_logits_ith(context, place) for place in range(len(ids))]
    return np.stack([np.ctypeslib.as_array(row, shape=(vocabulary,)).copy() for row in rows])


def mlx(folder):
    import mlx.core as mx
    from mlx_lm.utils import load_model
    mx.set_default_device(mx.cpu)
    model = load_model(folder)[0]
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([tokens(folder)])))[0]


def inputs(path, width):
    """For the layer at a path, whoever asks."""
    return np.random.default_rng(sum(map(ord, path))).standard_normal((8, width)).astype(np.float32)


def layers_of(folder):
    return sorted(file.name[:-len(".onnx")] for file in folder.glob("*.onnx"))


def onnxruntime(folder):
    """The products of all layers, one after the other."""
    import onnxruntime as ort
    products = []
    for path in layers_of(folder):
        session = ort.InferenceSession(str(folder / f"{path}.onnx"), providers=["CPUExecutionProvider"])
        width = session.get_inputs()[0].shape[1]
        products.append(session.run(None, {"input": inputs(path, width)})[0].ravel())
    assert products, f"no layer in {folder}"
    return np.concatenate(products)


def products(folder):
    """The same from the weights."""
    weights = load_file(folder / "model.safetensors")
    paths = sorted(name[:-len(".weight")] for name, t in weights.items() if re.search(r"\.(layers|h)\.", name) and t.ndim == 2)
    own = config(folder)
    def product(path):
        weight, bias = weights[f"{path}.weight"], weights.get(f"{path}.bias")
        weight = weight.t() if is_transposed(own, path) else weight
        y = inputs(path, weight.shape[1]) @ weight.numpy().T
        return (y if bias is None else y + bias.numpy()).ravel()
    return np.concatenate([product(path) for path in paths])


FOUR, ZEROS = ["--bits", "4", "--group-size", "32"], ["--bits", "4", "--group-size", "32", "--asymmetric"]
EIGHT = ["--bits", "8", "--group-size", "32"]
LEARNED = ["--method", "learned", "--calib", str(ROOT / "examples/tiny-llama/calibration.txt"), "--seq-len", "128",
           "--samples", "16", "--iters", "8", "--tune-iters", "0"]
CT, GPTQ = (transformers, ("transformers", "compressed-tensors")), (transformers, ("transformers", "gptqmodel"))
AUTO_ROUND, BNB = (transformers, ("transformers", "auto-round")), (transformers, ("transformers", "bitsandbytes"))
GGUF_HF, GGUF, MLX = (gguf_by_transformers, ("transformers", "gguf")), (gguf_by_gguf, ("gguf",)), (mlx, ("mlx-lm", "mlx"))
ONNX, LLAMA_CPP = (onnxruntime, ("onnxruntime",)), (llama_cpp, ("llama_cpp_python",))
RANDOM, TRAINED = "a random Llama", "examples/tiny-llama"
LLAMA, OPT, GPT2 = (f"shared/models/{name}" for name in ("babyllama-char-0.9M", "opt-shakespeare-char", "gpt2-shakespeare-char"))
# Format: model; program and the packages that the table names; limit; settings of the quantization. Models are those whose
# architecture the program has for that format.
CASES = {
    "compressed-tensors": [(model, CT, EXACT, FOUR) for model in (RANDOM, LLAMA, OPT)] + [(TRAINED, CT, EXACT, FOUR + LEARNED)],
    "gguf": [(RANDOM, GGUF_HF, EXACT, FOUR), (RANDOM, GGUF, EXACT, FOUR), (RANDOM, GGUF_HF, EXACT, EIGHT),
             (RANDOM, GGUF, HALF, ZEROS), (RANDOM, GGUF, EXACT, ["--method", "ternary"]), (TRAINED, GGUF_HF, EXACT, FOUR + LEARNED), (LLAMA, GGUF_HF, EXACT, FOUR)]
            + [(RANDOM, LLAMA_CPP, INT8, settings) for settings in (FOUR, ZEROS, EIGHT, ["--method", "ternary"])]
            + [(TRAINED, LLAMA_CPP, INT8, FOUR + LEARNED), (LLAMA, LLAMA_CPP, INT8, FOUR)],
    "gguf-tq1_0": [(RANDOM, GGUF, EXACT, ["--method", "ternary"]), (RANDOM, LLAMA_CPP, INT8, ["--method", "ternary"])],
    "bitnet": [(RANDOM, (transformers, ("transformers",)), INT8, ["--method", "ternary"])],
    "gptq": [(RANDOM, GPTQ, HALF, FOUR), (RANDOM, GPTQ, HALF, ZEROS), (TRAINED, GPTQ, HALF, FOUR + LEARNED),
             (LLAMA, GPTQ, HALF, FOUR), (OPT, GPTQ, HALF, FOUR)],
    "awq": [(RANDOM, GPTQ, HALF, ZEROS), (TRAINED, GPTQ, HALF, ZEROS + LEARNED), (LLAMA, GPTQ, HALF, ZEROS),
            (OPT, GPTQ, HALF, ZEROS)],
    "auto-round": [(model, AUTO_ROUND, HALF, FOUR) for model in (RANDOM, LLAMA, OPT, GPT2)]
                  + [(TRAINED, AUTO_ROUND, HALF, FOUR + LEARNED)],
    "mlx": [(RANDOM, MLX, EXACT, FOUR), (RANDOM, MLX, EXACT, ZEROS), (TRAINED, MLX, EXACT, FOUR + LEARNED),
            (LLAMA, MLX, EXACT, FOUR)],
    "onnx": [(RANDOM, ONNX, EXACT, FOUR), (RANDOM, ONNX, EXACT, ZEROS),
             (RANDOM, ONNX, EXACT, ["--bits", "8", "--group-size", "channel"]),
             (RANDOM, ONNX, EXACT, ["--bits", "2", "--group-size", "16", "--asymmetric"]),
             (TRAINED, ONNX, EXACT, FOUR + LEARNED), (LLAMA, ONNX, EXACT, FOUR), (OPT, ONNX, EXACT, FOUR), (GPT2, ONNX, EXACT, FOUR)],
    "bitsandbytes": [(model, BNB, INT8, ["--method", "llm-int8"]) for model in (RANDOM, LLAMA, OPT, GPT2)],
}
# Tensors of a layer: codes; scales, with the axis of groups, or of rows; zero points. One scale of a whole layer cannot move.
PARTS = {
    "bitnet": (".weight", (".weight_scale", None), None),
    "compressed-tensors": (".weight_packed", (".weight_scale", 1), None),
    "gptq": (".qweight", (".scales", 0), ".qzeros"),
    "awq": (".qweight", (".scales", 0), ".qzeros"),
    "auto-round": (".qweight", (".scales", 0), ".qzeros"),
    "mlx": (".weight", (".scales", 1), ".biases"),
    # Of one group a row as well: to the next one, wherever it is.
    "onnx": (".codes", (".scales", None), ".zeros"),
    "bitsandbytes": (".weight", (".SCB", 0), None),
}


def nibbles(tensor):
    pairs = tensor.contiguous().view(torch.uint8)
    return ((pairs & 15) << 4 | pairs >> 4).view(tensor.dtype)


def one_off(tensor):
    """A zero point more for every other output feature, or a bias that is an eighth larger: a step of 4 bits."""
    if tensor.dtype == torch.uint8:
        return (tensor & 0xF0) | ((tensor + 1) & 15)
    if tensor.dtype == torch.int32:
        pairs = tensor.contiguous().view(torch.uint8)
        return ((pairs & 0xF0) | ((pairs + 1) & 15)).view(torch.int32)
    return tensor * 1.125


def change_onnx(folder, suffix, change):
    """Changes the constants of a name where they lie."""
    import onnx
    for path in layers_of(folder):
        graph = onnx.load(folder / f"{path}.onnx", load_external_data=False).graph
        sizes = {attribute.name: attribute.i for attribute in graph.node[0].attribute}
        for tensor in (tensor for tensor in graph.initializer if tensor.name.endswith(suffix)):
            place = {entry.key: entry.value for entry in tensor.external_data}
            with open(folder / place["location"], "r+b") as file:
                file.seek(int(place["offset"]))
                kind = np.float32 if tensor.data_type == onnx.TensorProto.FLOAT else np.uint8
                values = torch.tensor(np.frombuffer(file.read(int(place["length"])), kind).reshape(sizes["N"], -1).copy())
                file.seek(int(place["offset"]))
                file.write(change(values).numpy().tobytes())


# Bytes of a block of GGUF, those of its codes, of its scale if blocks have their own, and of a minimum.
BLOCKS = {
    "Q4_0": (18, slice(2, 18), slice(0, 2), None), "Q4_1": (20, slice(4, 20), slice(0, 2), slice(2, 4)),
    "Q8_0": (34, slice(2, 34), slice(0, 2), None), "TQ1_0": (54, slice(0, 52), None, None),
    "TQ2_0": (66, slice(0, 64), None, None),
}


def damaged_gguf(source, folder):
    """Copies with one fault in the blocks of every layer each."""
    import gguf
    def moved(blocks, codes, scale, minimum):
        blocks[:, scale] = np.roll(blocks[:, scale], 1, 0)
    def swapped(blocks, codes, scale, minimum):
        blocks[:, codes] = (blocks[:, codes] & 15) << 4 | blocks[:, codes] >> 4
    def off(blocks, codes, scale, minimum):
        step, low = (blocks[:, at].copy().view(np.float16) for at in (scale, minimum))
        blocks[:, minimum] = (low - step).view(np.uint8)
    tensors = [t for t in gguf.GGUFReader(source / "model.gguf").tensors if t.tensor_type.name in BLOCKS]
    assert tensors, "no tensor has blocks"
    _, _, scale, minimum = BLOCKS[tensors[0].tensor_type.name]
    faults = {"codes swapped": swapped} | ({"scale moved": moved} if scale else {}) | ({"zero point off": off} if minimum else {})
    for number, (fault, change) in enumerate(faults.items()):
        to = folder / f"fault{number}"
        shutil.copytree(source, to)
        file = np.memmap(to / "model.gguf", np.uint8, "r+")
        for tensor in tensors:
            size, *parts = BLOCKS[tensor.tensor_type.name]
            start = int(tensor.data_offset)
            change(file[start:start + int(tensor.n_bytes)].reshape(-1, size), *parts)
        file.flush()
        yield fault, to


def damaged(source, folder, name, settings):
    """Copies with one fault each."""
    if name.startswith("gguf"):
        yield from damaged_gguf(source, folder)
        return
    codes, (scales, axis), zeros = PARTS[name]
    faults = {"codes swapped": (codes, nibbles)}
    if name != "bitnet":
        faults["scale moved"] = (scales, lambda t: t.roll(1, axis))
    if zeros and (name != "onnx" or "--asymmetric" in settings):
        faults["zero point off"] = (zeros, one_off)
    for number, (fault, (suffix, change)) in enumerate(faults.items()):
        to = folder / f"fault{number}"
        shutil.copytree(source, to)
        if name == "onnx":
            change_onnx(to, suffix, change)
            yield fault, to
            continue
        tensors = load_file(to / "model.safetensors")
        hit = [k for k in tensors if k.endswith(suffix) and k.removesuffix(suffix) + scales in tensors]
        assert hit, f"no tensor ends with {suffix}"
        save_file({k: change(t).contiguous() if k in hit else t for k, t in tensors.items()}, to / "model.safetensors",
                  metadata={"format": "pt"})
        yield fault, to


def distance(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def run(*words):
    done = subprocess.run([BITSMITH, *map(str, words), "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bitsmith {' '.join(map(str, words))}\n{done.stderr}")


def quietly(program, folder):
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            return program(folder)
    except Exception:
        print(heard.getvalue()[-2000:], file=sys.stderr)
        raise


def place(model, scratch):
    """Where a model is; nothing if it is one of `shared/` and that is not there."""
    if model == RANDOM:
        return scratch / "model"
    at = SHARED / model.removeprefix("shared/") if model.startswith("shared/") else ROOT / model
    return at if at.exists() else None


def lacking(packages):
    """One of the packages that is not installed."""
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return package
    return None


def judged(scratch, source, name, case):
    """A row of the table, and whether all is as it should be."""
    model, (program, packages), limit, settings = case
    run("quantize", source, "--out", scratch / "ours", *settings, "--format", name, "--device", "cpu")
    if name == "compressed-tensors":
        (scratch / "plain").symlink_to(scratch / "ours")
    elif name == "onnx":
        run("quantize", source, "--out", scratch / "plain", *settings, "--device", "cpu")
    else:
        run("export", scratch / "ours", "--format", "compressed-tensors", "--out", scratch / "plain")
    decoded(scratch / "plain", scratch / "reference")
    expected = quietly(products if name == "onnx" else transformers, scratch / "reference")
    error = distance(quietly(program, scratch / "ours"), expected)
    noticed = {fault: distance(quietly(program, at), expected) for fault, at in damaged(scratch / "ours", scratch, name, settings)}
    good = error <= limit and all(found > limit for found in noticed.values())
    read_by = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    faults = ", ".join(f"{fault} {found:.2g}" for fault, found in noticed.items())
    words = " ".join([*settings[:-len(LEARNED)], "--method learned"] if settings[-len(LEARNED):] == LEARNED else settings)
    row = f"| `{name}` | {model} | `{words}` | {read_by} | {error:.1e} | {limit:.0e} | {faults} |"
    return row + ("" if good else " **FAILED**"), good


def main():
    wanted = sys.argv[1:] or list(CASES)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        random_model(scratch / "model")
        print("| format | model | quantized with | read by | error of the logits | limit | with a fault planted |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        results = []
        for number, (name, case) in enumerate((name, case) for name in wanted for case in CASES[name]):
            source, lacks = place(case[0], scratch), lacking(case[1][1])
            if source is None or lacks:
                print(f"NOT RUN: {name} of {case[0]}: {lacks or 'the model'} is not there", file=sys.stderr)
                continue
            (scratch / str(number)).mkdir()
            row, good = judged(scratch / str(number), source, name, case)
            print(row, flush=True)
            results.append(good)
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
