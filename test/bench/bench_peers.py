#!/usr/bin/env python3
"""bench_peers.py [--quick] [--threads N] [--model MODEL] [--text FILE] [--tokenizers DIR] [--llama PROGRAM] [CASE...]:
other programs at the cases of bench_cases.c and bench_tokenizers.c, by the same names, as CSV rows like those of
`bench --csv`. To add one: a function with a row above it. It gets the sizes, makes its inputs and returns elements a
pass, bytes a pass, and what to time. A peer that is not installed or fails gives a row that says so. run.py starts it
with threads set and pinned; numpy and scipy have one thread."""
import argparse
import ctypes
import fnmatch
import importlib.metadata
import json
import os
import re
import resource
import struct
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

BUDGET, REPEATS, QUICK_REPEATS = 10, 11, 3  # seconds and repetitions, as in bench.c
GROUP, N_RATIOS, COLUMNS, N_PAIRS = 128, 80, 11008, 14
PEERS = []


def peer(case, by, unit, package=None, threads=None, note=""):
    """A row. package: whose version is noted; threads: the only number it can use."""
    def add(function):
        PEERS.append(SimpleNamespace(case=case, by=by, unit=unit, package=by if package is None else package,
                                     threads=threads, note=note, make=function))
        return function
    return add


def weights(n, columns=None):
    """Floats like those of bench_weights: a bell curve of sigma 0.02, one in a thousand ten times as large."""
    import numpy
    period = (numpy.random.default_rng(1).standard_normal(1 << 16) * 0.02).astype("float32")
    period[999::1000] *= 10
    x = numpy.resize(period, n)
    return x.reshape(-1, columns) if columns else x


def tensor(n, columns=None, dtype="float32"):
    import torch
    return torch.from_numpy(weights(n, columns)).to(getattr(torch, dtype))


# ---- Moments ----

@peer("moments_f32", "numpy", "Gel/s", threads=1)
def numpy_moments(size):
    x = weights(size.n)

    def run():
        d = x - x.mean()
        d2 = d * d
        return d2.mean(), (d2 * d).mean(), (d2 * d2).mean()
    return x.size, x.nbytes, run


@peer("moments_f32", "scipy", "Gel/s", threads=1, note="stats.kurtosis")
def scipy_kurtosis(size, dtype="float32"):
    from scipy.stats import kurtosis
    x = weights(size.n if dtype == "float32" else size.n // 64).astype(dtype)
    return x.size, x.nbytes, lambda: kurtosis(x)


@peer("moments_f16", "scipy", "Gel/s", threads=1, note="stats.kurtosis")
def scipy_kurtosis_f16(size):
    return scipy_kurtosis(size, "float16")


def torch_moments_of(x, dim=None):
    """Two passes: the mean, then the powers of what is left of it."""
    d = x - x.mean(dim, keepdim=True) if dim is not None else x - x.mean()
    d2 = d * d
    return [p.mean(dim) if dim is not None else p.mean() for p in (d2, d2 * d, d2 * d2)]


@peer("moments_f32", "torch", "Gel/s", note="two passes")
def torch_moments(size):
    x = tensor(size.n)
    return x.numel(), 4 * x.numel(), lambda: torch_moments_of(x)


@peer("moments_rows_f32", "torch", "Gel/s", note="two passes")
def torch_rows(size, columns=4096):
    x = tensor(size.n, columns)
    return x.numel(), 4 * x.numel(), lambda: torch_moments_of(x, 1)


@peer("moments_groups_f32", "torch", "Gel/s", note="two passes")
def torch_groups(size):
    return torch_rows(size, GROUP)


@peer("moments_columns_f32", "torch", "Gel/s", note="two passes")
def torch_columns(size):
    x = tensor(size.n, 4096)
    return x.numel(), 4 * x.numel(), lambda: torch_moments_of(x, 0)


@peer("moments_bf16", "torch", "Gel/s", note="after a cast to f32")
def torch_bf16(size, dtype="bfloat16"):
    x = tensor(size.n, dtype=dtype)
    return x.numel(), 2 * x.numel(), lambda: torch_moments_of(x.float())


@peer("moments_f16", "torch", "Gel/s", note="after a cast to f32")
def torch_f16(size):
    return torch_bf16(size, "float16")


@peer("census_f32", "hf+scipy", "Gbytes/s", package="safetensors", threads=1,
      note="safe_open, .float().numpy().ravel(), stats.kurtosis")
def hf_census(size, dtype="float32"):
    from safetensors import safe_open
    from safetensors.torch import save_file
    from scipy.stats import kurtosis
    path = os.path.join(size.folder, f"census-{dtype}.safetensors")
    save_file({f"h.{i}.weight": tensor(size.n // 16, 1024, dtype) for i in range(16)}, path)

    def run():
        with safe_open(path, "pt") as file:
            return {name: kurtosis(file.get_tensor(name).float().numpy().ravel()) for name in file.keys()}
    return os.path.getsize(path), os.path.getsize(path), run


@peer("census_bf16", "hf+scipy", "Gbytes/s", package="safetensors", threads=1,
      note="safe_open, .float().numpy().ravel(), stats.kurtosis")
def hf_census_bf16(size):
    return hf_census(size, "bfloat16")


@peer("open_1gib", "safetensors", "s", threads=1, note="safe_open, keys")
def hf_open(size):
    from safetensors import safe_open
    path, n = os.path.join(size.folder, "sparse.safetensors"), 3495 * 256 * 4
    header = json.dumps({f"h.{i}.weight": {"dtype": "F32", "shape": [3495, 256], "data_offsets": [i * n, i * n + n]}
                         for i in range(300)}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 300 * n)

    def run():
        with safe_open(path, "pt") as opened:
            return opened.keys()
    return 1, 0, run


# ---- Evaluating a model ----

@peer("eval_smollm2", "torch", "tokens/s", note="f32, logits of the second half of a window")
def torch_eval(size):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_attention_heads=9,
                         num_key_value_heads=3, num_hidden_layers=6 if size.quick else 30, rope_theta=100000,
                         max_position_embeddings=8192, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).float().eval()
    ids = torch.arange(size.n_windows * 512).reshape(-1, 1, 512) * 7919 % 49152

    def run():
        losses = []
        for window in ids:
            logits = model.lm_head(model.model(window).last_hidden_state[0, 256:-1])
            losses.append(torch.nn.functional.cross_entropy(logits, window[0, 257:]).item())
        size.extra = f"max RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB with Python"
        return losses
    return ids.numel(), 0, run


@peer("eval_smollm2", "llama.cpp", "tokens/s", package="", note="its own time from the text to the perplexity")
def llama_eval(size):
    if not (size.llama and size.model and size.text):
        raise RuntimeError("needs --llama PROGRAM, --model FILE.gguf and --text FILE")
    command = [size.llama, "-m", size.model, "-f", size.text, "-c", "512", "--chunks", str(size.n_windows), "-t",
               str(size.threads), "-tb", str(size.threads)]

    def run():
        at = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
            for line in program.stdout:
                for word in ("calculating perplexity", "Final estimate"):
                    stamp = re.search(r"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) I .*" + word, line)  # minutes, seconds, ...
                    if stamp:
                        m, s, ms, us = map(int, stamp.groups())
                        at[word] = 60 * m + s + 1e-3 * ms + 1e-6 * us
                        with open(f"/proc/{program.pid}/status", encoding="ascii") as status:
                            kb = int(re.search(r"VmHWM:\s*(\d+)", status.read()).group(1))
        size.extra = f"max RSS {kb / 1e3:.0f} MB"
        return at["Final estimate"] - at["calculating perplexity"]
    return size.n_windows * 512, 0, run


# ---- Tokenizers ----

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def text_of(size):
    """What bench_tokenizers.c reads."""
    if size.text:
        with open(size.text, encoding="utf-8", newline="") as file:
            return file.read()
    folder = os.path.join(ROOT, "examples", "data", "text")
    texts = []
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".txt")):
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
            texts.append(file.read())
    return "".join(texts)


def tokenizer_peer(name, by, load, encode, encode_lines):
    """Three rows; load() gives what encode(it, text) and encode_lines(it, lines) take."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    @peer(f"load_{name}", by, "s", threads=1)
    def loading(_size):
        return 1, 0, load

    @peer(f"encode_{name}", by, "Mbytes/s", threads=1)
    def whole(size):
        it, text = load(), text_of(size)
        return len(text.encode()), 0, lambda: encode(it, text)

    @peer(f"lines_{name}", by, "Mbytes/s", threads=1)
    def by_line(size):
        it, text = load(), text_of(size)
        return len(text.encode()), 0, lambda: encode_lines(it, text.split("\n"))


def tiktoken_of(path):
    """A byte-level BPE of tokenizer.json whose ids are its ranks, else None."""
    import tiktoken
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    steps = data["pre_tokenizer"].get("pretokenizers", [data["pre_tokenizer"]])
    if data["model"]["type"] != "BPE" or steps[-1]["type"] != "ByteLevel" or data.get("normalizer"):
        return None
    patterns = [s["pattern"]["Regex"] for s in steps if s["type"] == "Split" and "Regex" in s["pattern"]]
    if steps[-1].get("use_regex"):
        patterns.append(GPT2_PATTERN)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    added = {t["content"] for t in data["added_tokens"]}
    ranks = {bytes(byte_of[c] for c in token): i for token, i in data["model"]["vocab"].items() if token not in added}
    return tiktoken.Encoding("qdisp", pat_str=patterns[0], mergeable_ranks=ranks, special_tokens={}) \
        if len(patterns) == 1 else None


def tokenizer_peers(folder):
    entries = [("embedded", os.path.join(ROOT, "examples", "data", "model"))]
    entries += [(name, os.path.join(folder, name)) for name in sorted(os.listdir(folder))] if folder else []
    for name, path in entries:
        path = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
        if path.endswith(".json"):
            def load(path=path):
                from tokenizers import Tokenizer
                return Tokenizer.from_file(path)
            tokenizer_peer(name, "tokenizers", load, lambda t, s: t.encode_batch_fast([s], add_special_tokens=False),
                           lambda t, lines: t.encode_batch_fast(lines, add_special_tokens=False))
            try:
                if tiktoken_of(path):
                    tokenizer_peer(name, "tiktoken", lambda path=path: tiktoken_of(path),
                                   lambda t, s: t.encode_ordinary(s),
                                   lambda t, lines: [t.encode_ordinary(line) for line in lines])
            except Exception:  # not installed, or a file that is none of its kind: no row
                pass
        elif path.endswith(".model"):
            def load_model(path=path):
                from sentencepiece import SentencePieceProcessor
                return SentencePieceProcessor(model_file=path)
            tokenizer_peer(name, "sentencepiece", load_model, lambda t, s: t.encode(s),
                           lambda t, lines: t.encode(lines, num_threads=1))


# ---- Quantizing a matrix ----

@peer("aciq_rtn", "torch", "Mel/s", note="plain ACIQ (Laplace) clip + RTN, a tensor")
@peer("laaciq_1", "torch", "Mel/s", note="plain ACIQ (Laplace) clip + RTN, a tensor")
@peer("laaciq_32", "torch", "Mel/s", note="plain ACIQ (Laplace) clip + RTN, a tensor")
@peer("laaciq_100", "torch", "Mel/s", note="plain ACIQ (Laplace) clip + RTN, a tensor")
@peer("laaciq_channel_32", "torch", "Mel/s", note="plain ACIQ (Laplace) clip + RTN, a tensor")
def torch_aciq(size):
    w = tensor(size.n_matrix, COLUMNS)

    def run():
        alpha = 5.03 * w.abs().mean()
        scale = alpha / 7
        return (w.clamp(-alpha, alpha) / scale).round().clamp(-8, 7) * scale
    return w.numel(), 4 * w.numel(), run


@peer("rtn_int4_g128", "torch", "Mel/s", note="packed")
def torch_rtn(size):
    import torch
    w = tensor(size.n_matrix, GROUP)

    def run():
        scale = w.abs().amax(1, keepdim=True) / 7
        codes = ((w / scale).round().clamp(-8, 7) + 8).to(torch.uint8)
        return scale.half(), codes[:, ::2] | codes[:, 1::2] << 4
    return w.numel(), 4 * w.numel(), run


@peer("rtn_int4_g128", "quanto", "Mel/s", package="optimum-quanto", note="packed")
def quanto_int4(size):
    from optimum.quanto import MaxOptimizer, qint4, quantize_weight
    w, optimizer = tensor(size.n_matrix, COLUMNS), MaxOptimizer()

    def run():
        scale, shift = optimizer(w, qint4, 0, GROUP)
        return quantize_weight(w, qint4, 0, scale, shift, GROUP)
    return w.numel(), 4 * w.numel(), run


@peer("rtn_int4_g128", "torchao", "Mel/s", note="codes left in int8: its packed formats need a GPU")
def torchao_int4(size):
    import torch
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup
    w = torch.nn.Parameter(tensor(size.n_matrix, COLUMNS))

    def run():
        linear = torch.nn.Linear(1, 1, bias=False)
        linear.weight = w
        quantize_(linear, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP)))
        return linear.weight
    return w.numel(), 4 * w.numel(), run


@peer("rtn_int4_g128", "hqq", "Mel/s", note="packed, optimize=False")
def hqq_int4(size):
    import torch
    from hqq.core.quantize import Quantizer
    w = tensor(size.n_matrix, COLUMNS)
    return w.numel(), 4 * w.numel(), lambda: Quantizer.quantize(
        w, nbits=4, group_size=GROUP, optimize=False, axis=1, device="cpu", compute_dtype=torch.float32)


def ggml_quantize():
    """ggml_quantize_chunk: type, source, destination, first element, rows, elements a row, importance or None."""
    files = importlib.metadata.files("pywhispercpp")
    path = next(f for f in files if f.name.startswith("libggml-base.so")).locate()
    quantize = ctypes.CDLL(str(path)).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return quantize


@peer("rtn_int4_g128", "ggml", "Mel/s", package="pywhispercpp", note="Q4_0: groups of 32")
@peer("rtn_int4_g32", "ggml", "Mel/s", package="pywhispercpp", note="Q4_0")
def ggml_q4_0(size, kind=2):
    quantize, w = ggml_quantize(), weights(size.n_matrix, COLUMNS)
    out = ctypes.create_string_buffer(2 * w.size)
    rows, share = len(w), -(-len(w) // size.threads)
    pool = ThreadPoolExecutor(size.threads)

    def chunk(first):
        return quantize(kind, w.ctypes.data, out, first * COLUMNS, min(share, rows - first), COLUMNS, None)
    return w.size, w.nbytes, lambda: list(pool.map(chunk, range(0, rows, share)))


@peer("rtn_int8_g32", "ggml", "Mel/s", package="pywhispercpp", note="Q8_0")
def ggml_q8_0(size):
    return ggml_q4_0(size, 8)


def ggml_encoder(name, kind, importance):
    """A row of bench_blocks.c: 1024 x 1024 weights."""
    @peer(f"encode_{name}" + ("_importance" if importance else ""), "ggml", "Gweights/s", package="pywhispercpp",
          threads=1)
    def encoder(_size):
        quantize, w, columns = ggml_quantize(), weights(1 << 20, 1024), weights(1024) ** 2
        out = ctypes.create_string_buffer(2 * w.size)
        return w.size, w.nbytes, lambda: quantize(kind, w.ctypes.data, out, 0, 1024, 1024,
                                                  columns.ctypes.data if importance else None)


for gguf_name, gguf_id in {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
                           "Q5_K": 13, "Q6_K": 14}.items():
    for weighted in (False, True):
        ggml_encoder(gguf_name, gguf_id, weighted)


@peer("mse_grid_g128", "torch", "Mel/s", note="the plain loop, by blocks that stay in the cache")
def torch_mse_grid(size):
    import torch
    w = tensor(size.n_matrix // 4, GROUP)

    def best_of(block):
        step = block.abs().amax(1, keepdim=True) / 7
        errors = []
        for i in range(N_RATIOS):
            scale = step * (1 - 0.01 * i)
            errors.append(((block / scale).round().clamp(-8, 7) * scale - block).square().sum(1))
        return torch.stack(errors).argmin(0)
    return w.numel(), 4 * w.numel(), lambda: [best_of(block) for block in w.split(2048)]  # fastest of 128 .. 4096


@peer("mse_grid_g128", "torch", "Mel/s", note="the same, tuned: no temporaries, fused steps")
def torch_mse_grid_tuned(size):
    import torch
    w = tensor(size.n_matrix // 4, GROUP)

    def best_of(block):
        step = block.abs().amax(1, keepdim=True) / 7
        q, errors = torch.empty_like(block), torch.empty(N_RATIOS, len(block))
        for i in range(N_RATIOS):
            scale = step * (1 - 0.01 * i)
            torch.mul(block, 1 / scale, out=q)
            torch.addcmul(block, q.round_().clamp_(-8, 7), scale, value=-1, out=q)
            torch.linalg.vector_norm(q, 2, 1, out=errors[i])
        return errors.argmin(0)
    return w.numel(), 4 * w.numel(), lambda: [best_of(block) for block in w.split(4096)]  # fastest of 64 .. 4096


# ---- Methods that need more than thresholds ----

LAYER = 2048


@peer("gptq_g128", "torch", "Mel/s", note="GPTQ's loop as its authors publish it: blocks of 128, Cholesky included")
def torch_gptq(_size):
    import torch
    w0 = tensor(LAYER * LAYER, LAYER)
    x = tensor(64 * LAYER, LAYER)
    h0 = x.T @ x / 64 + 1e-4 * torch.eye(LAYER)

    def run():
        h = torch.cholesky_inverse(torch.linalg.cholesky(h0))
        inverse = torch.linalg.cholesky(h, upper=True)
        w, q = w0.clone(), torch.empty_like(w0)
        for first in range(0, LAYER, GROUP):
            block, u = w[:, first:first + GROUP].clone(), inverse[first:first + GROUP, first:first + GROUP]
            errors = torch.empty_like(block)
            step = block.abs().amax(1) / 7
            for i in range(GROUP):
                column = block[:, i]
                rounded = (column / step).round().clamp(-7, 7) * step
                q[:, first + i] = rounded
                error = (column - rounded) / u[i, i]
                block[:, i:] -= torch.outer(error, u[i, i:])
                errors[:, i] = error
            w[:, first + GROUP:] -= errors @ inverse[first:first + GROUP, first + GROUP:]
        return q
    return LAYER * LAYER, 0, run


@peer("hqq_g64", "hqq", "Mel/s", note="optimize=True")
def hqq_optimized(_size):
    import torch
    from hqq.core.quantize import Quantizer
    w = tensor(LAYER * LAYER, LAYER)
    return w.numel(), 4 * w.numel(), lambda: Quantizer.quantize(
        w, nbits=4, group_size=64, optimize=True, axis=1, device="cpu", compute_dtype=torch.float32)


@peer("nf4_g64", "bitsandbytes", "Mel/s", note="quantize_4bit, nf4, blocks of 64")
def bitsandbytes_nf4(_size):
    from bitsandbytes.functional import quantize_4bit
    w = tensor(LAYER * LAYER, LAYER)
    return w.numel(), 4 * w.numel(), lambda: quantize_4bit(w, blocksize=64, quant_type="nf4")


# ---- Resampling ----

def pairs():
    import numpy
    x, noise = numpy.random.default_rng(1).standard_normal((2, N_PAIRS))
    return x, x + noise


def correlation(x, y, axis=-1):
    """Pearson's, vectorized: what scipy asks of a statistic."""
    x = x - x.mean(axis, keepdims=True)
    y = y - y.mean(axis, keepdims=True)
    return (x * y).sum(axis) / ((x * x).sum(axis) * (y * y).sum(axis)) ** 0.5


@peer("bootstrap_pearson", "scipy", "Mel/s", threads=1, note="vectorized, percentile")
def scipy_bootstrap(size, method="percentile"):
    from scipy.stats import bootstrap
    return size.n_resamples, 0, lambda: bootstrap(pairs(), correlation, paired=True, vectorized=True, method=method,
                                                  n_resamples=size.n_resamples, batch=10000)


@peer("bootstrap_pearson_bca", "scipy", "Mel/s", threads=1, note="vectorized, BCa")
def scipy_bca(size):
    return scipy_bootstrap(size, "BCa")


@peer("permutation_pearson", "scipy", "Mel/s", threads=1, note="vectorized, pairings")
def scipy_permutation(size):
    from scipy.stats import permutation_test
    x, y = pairs()
    return size.n_resamples, 0, lambda: permutation_test(
        (x,), lambda x, axis: correlation(x, y, axis), permutation_type="pairings", vectorized=True,
        n_resamples=size.n_resamples, batch=10000)


# ---- Running them ----

def seconds_of(run, repeats):
    """Best, median and worst of the repetitions, as many as the budget holds and at least two. The pass before them
    never counts, however long: it loads code and gets memory from the system."""
    run()
    seconds = []
    start = time.perf_counter()
    while len(seconds) < repeats and (len(seconds) < 2 or time.perf_counter() - start < BUDGET):
        begin = time.perf_counter()
        own = run()  # a peer may tell the time itself
        seconds.append(own if isinstance(own, float) else time.perf_counter() - begin)
    seconds.sort()
    return seconds[0], seconds[len(seconds) // 2], seconds[-1]


def measure(row, size, repeats, known):
    """The row's fields after case, by and threads. known: what functions that several rows name have given."""
    try:
        version = f"{row.package} {importlib.metadata.version(row.package)}" if row.package else ""
        if row.make not in known:
            size.extra = ""
            n, n_bytes, run = row.make(size)
            known[row.make] = n, n_bytes, seconds_of(run, repeats), size.extra
        n, n_bytes, times, extra = known[row.make]
        note = "; ".join(part for part in (version, row.note, extra) if part)
        return [n, row.unit, *[f"{s:.9g}" for s in times], n_bytes, "", "", note]
    except Exception as error:  # a peer may fail in any way of its own; the others are measured all the same
        return ["", row.unit, "", "", "", "", "", "", f"skipped: {type(error).__name__}: {error}"[:150]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    for name in ("model", "text", "tokenizers", "llama"):
        parser.add_argument("--" + name)
    options = parser.parse_intermixed_args()
    try:
        import torch
        torch.set_num_threads(options.threads)
        torch.set_grad_enabled(False)
    except ImportError:
        pass  # its rows will say so
    tokenizer_peers(options.tokenizers)
    print("case,by,threads,n,unit,best_s,median_s,worst_s,bytes,limit,limit_s,note")
    with tempfile.TemporaryDirectory() as folder:
        size = SimpleNamespace(model=options.model, text=options.text, llama=options.llama, quick=options.quick,
                               n_windows=2 if options.quick else 4, n=1 << (24 if options.quick else 28),
                               threads=options.threads, folder=folder,
                               n_matrix=(1024 if options.quick else 4096) * COLUMNS,
                               n_resamples=100_000 if options.quick else 1_000_000)
        known = {}
        for row in PEERS:
            if options.cases and not any(fnmatch.fnmatch(row.case, pattern) for pattern in options.cases):
                continue
            if row.threads in (None, options.threads):
                fields = measure(row, size, QUICK_REPEATS if options.quick else REPEATS, known)
                cells = [row.case, row.by, options.threads, *fields]
                print(",".join(str(c).replace(",", ";").replace("\n", " ") for c in cells), flush=True)


main()
