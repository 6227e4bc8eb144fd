#!/usr/bin/env python3
"""Quantized models as engines load them: check_outputs.py QDISP CACHE [--smollm2] [--format NAME]

Plans of several kinds for a small random Llama with a tokenizer of bytes, and with --smollm2 for SmolLM2-135M too, are
written by `qdisp quantize --format NAME` and loaded by the owners' programs:

  compressed-tensors  transformers with the compressed-tensors package: the same weights bit for bit, the same logits
  gptq, gptq_v2       gptqmodel's dequantization: the same weights bit for bit; with them in transformers the same
                      logits
  gguf                the gguf package: the same weights bit for bit (check_gguf.py asks llama.cpp itself)

The library's side is what it reads from the written file, and that must be what the plan says; in folders, whose scales
are f16, weights are rounded to that by their owners and by us. Formats whose package is not installed are skipped;
gptqmodel's sources on PYTHONPATH are enough. Needs torch, transformers, safetensors, gguf and qdisp's package."""
import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from unittest import mock

import numpy
import safetensors.torch
import torch
import transformers

import check_llama
import qdisp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
TOLERANCE = 1e-3  # of the largest logit of a row: both compute in f32, in another order
TEXT = "Alle Menschen sind frei.\nWatu wote wamezaliwa huru. \u0412\u0441\u0435 \u043b\u044e\u0434\u0438"
# arguments of `qdisp plan`
PLANS = {
    "compressed-tensors": ["--method rtn --bits 4 --group 32", "--method rtn --bits 3 --group 32 --levels full",
                           "--method aciq --bits 8 --group channel", "--method mse --bits 5 --group 64 --levels asym"],
    "gptq": ["--method rtn --bits 4 --group 32", "--method rtn --bits 2 --group 64",
             "--method mse --bits 4 --group 32 --levels asym", "--method aciq --bits 8 --group channel"],
    "gptq_v2": ["--method rtn --bits 4 --group 32", "--method rtn --bits 3 --group 64 --levels asym"],
    "gguf": ["--method rtn --bits 4 --group 32", "--method aciq --bits 8 --group 32",
             "--method rtn --bits 5 --group 64", "--method rtn --type q4_k", "--method rtn --type q5_1"],
}
NEEDS = {"compressed-tensors": "compressed_tensors", "gptq": "gptqmodel", "gptq_v2": "gptqmodel", "gguf": "gguf"}


def run(*command):
    made = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace")
    assert made.returncode == 0, f"{' '.join(map(str, command))}: {(made.stderr or made.stdout)[-1500:]}"
    return made.stdout


def make_small(folder):
    """A random Llama of sizes that every format holds, and a byte-level tokenizer without merges."""
    import make_archs
    import make_gguf_models
    import tokenizers
    config, options = make_archs.MODELS["llama"]
    config = {**config, "hidden_size": 256, "head_dim": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 288, "attention_bias": False,
              "mlp_bias": False, "max_position_embeddings": 512, "bos_token_id": 256, "eos_token_id": 257,
              "tie_word_embeddings": False}
    make_gguf_models.draw_folder(folder, config, options)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.add_tokens([f"<extra{i}>" for i in range(30)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def make_smollm2(cache):
    """The GGUF file's values as transformers reads them, in F32."""
    folder = pathlib.Path(cache) / "smollm2" / "hf"
    if not folder.exists():
        path = check_llama.smollm2(cache)
        where = {"pretrained_model_name_or_path": os.path.dirname(path), "gguf_file": os.path.basename(path)}
        unfinished = folder.with_suffix(".part")
        transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).save_pretrained(unfinished)
        transformers.AutoTokenizer.from_pretrained(**where).save_pretrained(unfinished)
        unfinished.rename(folder)
    return folder


def plain_copy(folder, weights, into):
    """The folder's model in transformers with other weights."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.pop("quantization_config", None)
    into.mkdir()
    (into / "config.json").write_text(json.dumps(config), "utf-8")
    safetensors.torch.save_file({k: v.contiguous() for k, v in weights.items()}, into / "model.safetensors",
                                {"format": "pt"})
    return load(into)


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def same_weights(ours, theirs, names):
    """Names of those that differ; theirs: name to a tensor or array."""
    wrong = []
    for name in names:
        a, b = ours.read(name), numpy.asarray(theirs[name], numpy.float32)
        if a.shape != b.shape or a.tobytes() != b.tobytes():
            wrong.append(name)
    return wrong


def logits_apart(ours, model, ids):
    with torch.no_grad():
        expected = model(torch.tensor([ids.tolist()])).logits[0].float().numpy()
    got = ours.forward(ids)
    return float((numpy.abs(got - expected).max(1) / numpy.abs(expected).max(1)).max())


# --- one function a format: (names of weights that differ, how far logits are apart or None, words more) ---

def compressed_weights(out):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    config = json.loads((out / "config.json").read_text("utf-8"))["quantization_config"]
    (group,) = config["config_groups"].values()
    scheme = QuantizationScheme(**{k: v for k, v in group.items() if k in ("targets", "weights")})
    tensors = safetensors.torch.load_file(out / "model.safetensors")
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    weights = {}
    for key in [k for k in tensors if k.endswith(".weight_packed")]:
        module = key[:-len("weight_packed")]
        state = {k[len(module):]: tensors.pop(k) for k in list(tensors) if k.startswith(module)}
        weights[module + "weight"] = compressor.decompress(state, scheme)["weight"].float()
    return scheme.weights.symmetric, weights | {k: v.float() for k, v in tensors.items()}


def check_compressed(out, ours, ids, names):
    """transformers itself loads symmetric ones; with compressed-tensors 0.20 it looks for zero points that are not
    packed, and cannot load asymmetric ones, whoever wrote them. Its packed modules keep products in f32."""
    symmetric, weights = compressed_weights(out)
    wrong = same_weights(ours, weights, names)
    apart = logits_apart(ours, plain_copy(out, weights, out.parent / "plain"), ids)
    if not symmetric:
        return wrong, apart, ""
    dense = transformers.AutoModelForCausalLM.from_pretrained(
        out, dtype=torch.float32, quantization_config=transformers.CompressedTensorsConfig(dequantize=True))
    packed = logits_apart(ours, load(out), ids)
    return wrong, max(apart, logits_apart(ours, dense, ids)), f" ({packed:.1e} of packed modules)"


ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}  # a one in each of a word's codes


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for what gptqmodel imports and dequantizing does not need."""
    names = ("datasets", "pyarrow", "tokenicer", "device_smi", "random_word", "threadpoolctl", "pypcre", "pcre")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        made = mock.MagicMock(name=spec.name)
        made.__path__, made.__name__, made.__spec__, made.__file__ = [], spec.name, spec, "stub"
        return made

    def exec_module(self, module):
        pass


def gptq_weights(out):
    sys.meta_path.append(Absent())
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import FORMAT
    config = json.loads((out / "config.json").read_text("utf-8"))["quantization_config"]
    tensors = safetensors.torch.load_file(out / "model.safetensors")
    weights = {}
    for key in [k for k in tensors if k.endswith(".qweight")]:
        module = key[:-len(".qweight")]
        scales, g_idx = tensors[module + ".scales"], tensors[module + ".g_idx"]
        linear = TorchLinear(bits=config["bits"], group_size=config["group_size"], sym=config["sym"],
                             desc_act=config["desc_act"], in_features=len(g_idx), out_features=scales.shape[1],
                             bias=False, format=FORMAT(config["checkpoint_format"]))
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            setattr(linear, part, tensors.pop(f"{module}.{part}"))
        if config["checkpoint_format"] == "gptq":
            linear.qzeros = linear.qzeros + ONES[config["bits"]]  # stored less one
        weights[module + ".weight"] = linear.dequantize_weight().t().float()
    return weights | {k: v.float() for k, v in tensors.items()}


def check_gptq(out, ours, ids, names):
    weights = gptq_weights(out)
    wrong = same_weights(ours, weights, names)
    return wrong, logits_apart(ours, plain_copy(out, weights, out.parent / "plain"), ids), ""


def llama_name(name):
    """model.layers.0.mlp.up_proj.weight as GGUF has it."""
    import gguf
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 64)
    return names.get_name(name, try_suffixes=(".weight", ".bias"))


def unpair(rows, n_head):
    """Rows of queries or keys as Hugging Face has them: the converter puts pairs that turn together side by side."""
    d = rows.shape[0] // n_head
    return rows.reshape(n_head, d // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def gguf_weights(out, names, info):
    import gguf
    read = {t.name: t for t in gguf.GGUFReader(out).tensors}
    weights = {}
    for name in names:
        t = read[llama_name(name)]
        values = gguf.quants.dequantize(t.data, t.tensor_type)
        if "q_proj" in name or "k_proj" in name:
            values = unpair(values, info.n_head if "q_proj" in name else info.n_kv_head)
        weights[name] = values
    return weights


def check_gguf(out, ours, ids, names):
    return same_weights(ours, gguf_weights(out, names, ours.info), names), None, ""


CHECKS = {"compressed-tensors": check_compressed, "gptq": check_gptq, "gptq_v2": check_gptq, "gguf": check_gguf}


def check_plan(given, source, kind, plan_of):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plan, out = folder / "plan.csv", folder / ("out.gguf" if kind == "gguf" else "out")
        run(given.program, "plan", source, *plan_of.split(), "-o", plan, "-q")
        run(given.program, "quantize", source, "--plan", plan, "--format", kind, "-o", out, "-q")
        base, ours = qdisp.Model(source), qdisp.Model(out)
        applied = qdisp.apply_plan(qdisp.Table.from_csv(plan, "plan"), base)
        names = qdisp.Table.from_csv(plan, "plan")["tensor"]
        ids = qdisp.Tokenizer(source).encode(TEXT)
        planned = {n: applied.read(n) for n in names}
        if kind != "gguf":
            planned = {n: w.astype(numpy.float16) for n, w in planned.items()}
        planned = same_weights(ours, planned, names)
        wrong, apart, words = CHECKS[kind](out, ours, ids, list(names))
        good = not planned and not wrong and (apart is None or apart <= TOLERANCE)
    far = "" if apart is None else f", logits {apart:.1e} apart"
    print(f"{source.name} {kind} {plan_of}: {len(names)} matrices, {len(wrong)} unlike the owner's, "
          f"{len(planned)} unlike the plan's{far}{words}", flush=True)
    for name in (wrong + planned)[:3]:
        print(f"FAIL {name}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("cache")
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--format", action="append", choices=list(PLANS))
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    good, n_skipped = [], 0
    with tempfile.TemporaryDirectory() as folder:
        models = [(make_small(pathlib.Path(folder) / "small"), None)]
        if given.smollm2:
            models.append((make_smollm2(given.cache), 1))
        for source, most in models:
            for kind in given.format or PLANS:
                if not importlib.util.find_spec(NEEDS[kind]):
                    print(f"skipped {kind}: {NEEDS[kind]} is not installed")
                    n_skipped += 1
                    continue
                for plan_of in PLANS[kind][:most]:
                    try:
                        good.append(check_plan(given, source, kind, plan_of))
                    except Exception as error:
                        print(f"FAIL {source.name} {kind} {plan_of}: {type(error).__name__}: {str(error)[-800:]}",
                              flush=True)
                        good.append(False)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed, {n_skipped} skipped")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
