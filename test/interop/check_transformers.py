#!/usr/bin/env python3
"""transformers and tokenizers against qdisp: check_transformers.py QDISP MODEL TEXT_DIR

Same ids, same loss of every line for MODEL, and the folder that `qdisp quantize` writes loads in transformers and
scores as `qdisp eval` says. Needs torch, transformers, tokenizers (`./do interop` makes the environment)."""
import csv
import io
import os
import subprocess
import sys
import tempfile

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

LINES = 6  # of every language
# f32 products summed in another order by another BLAS; a line's loss is a sum over its tokens
TOLERANCE = 1e-4


def qdisp_losses(program, model, corpus):
    out = subprocess.run([program, "eval", model, "--corpus", corpus, "--format", "csv", "--quiet"], check=True,
                         capture_output=True, text=True).stdout
    return {(r["language"], int(r["i_line"])): (int(r["n_tokens"]), float(r["nll_nats"]))
            for r in csv.DictReader(io.StringIO(out))}


def reference_losses(folder, tokenizer, corpus):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    losses = {}
    for name in sorted(os.listdir(corpus)):
        for i, line in enumerate(open(os.path.join(corpus, name), encoding="utf-8").read().splitlines()):
            ids = torch.tensor([[model.config.bos_token_id] + tokenizer.encode(line, add_special_tokens=False).ids])
            with torch.no_grad():
                logp = model(ids).logits[0, :-1].double().log_softmax(-1)
            nll = -logp.gather(1, ids[0, 1:, None]).sum().item()
            losses[name[:-4], i] = (ids.shape[1] - 1, nll)
    return losses


def compare(what, ours, theirs):
    assert ours.keys() == theirs.keys(), what
    counts = all(ours[k][0] == theirs[k][0] for k in ours)
    worst = max(abs(ours[k][1] - theirs[k][1]) / abs(theirs[k][1]) for k in ours)
    print(f"{what}: {len(ours)} lines, largest relative difference {worst:.2e}, same numbers of tokens: {counts}")
    return counts and worst <= TOLERANCE


def main():
    program, model, text = sys.argv[1:4]
    good = []
    with tempfile.TemporaryDirectory() as folder:
        corpus, quantized, plan = (os.path.join(folder, x) for x in ("text", "quantized", "plan.csv"))
        os.mkdir(corpus)
        for name in sorted(os.listdir(text)):
            if name.endswith(".txt"):
                lines = open(os.path.join(text, name), encoding="utf-8").read().splitlines()[:LINES]
                with open(os.path.join(corpus, name), "w", encoding="utf-8") as f:
                    f.write("\n".join(lines) + "\n")
        tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        good.append(compare("model", qdisp_losses(program, model, corpus), reference_losses(model, tokenizer, corpus)))
        subprocess.run([program, "plan", model, "--method", "aciq", "--bits", "3", "-o", plan, "-q"], check=True)
        subprocess.run([program, "quantize", model, "--plan", plan, "-o", quantized, "-q"], check=True)
        good.append(compare("quantized", qdisp_losses(program, quantized, corpus),
                            reference_losses(quantized, tokenizer, corpus)))
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


sys.exit(main())
