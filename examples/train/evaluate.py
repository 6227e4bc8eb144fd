#!/usr/bin/env python3
"""Bits per byte of a model in every language.

    python evaluate.py MODEL_DIR --held TEXT_DIR --parallel PARALLEL_DIR [--csv FILE]

TEXT_DIR holds LANG.held.txt (OUT_DIR/text of gather.py), PARALLEL_DIR holds LANG.txt with aligned lines.
A held-out document is scored in windows of 256 tokens, each token with at least 64 tokens before it or all there are;
a parallel line is scored with <s> before it. MODEL_DIR/training_languages.csv says how much of each language the model
saw.
"""
import argparse
import collections
import csv
import math
import os
import time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bloom import Bloom

WINDOW, KEEP = 256, 64
BATCH_TOKENS = 4096


def entropy(data):
    """Entropy of the bytes by their own frequencies, in bits per byte."""
    n = len(data)
    return -sum(c / n * math.log2(c / n) for c in collections.Counter(data).values())


def ranks(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    out = [0.0] * len(values)
    i = 0
    while i < len(order):
        j = i
        while j < len(order) and values[order[j]] == values[order[i]]:
            j += 1
        for k in range(i, j):
            out[order[k]] = (i + j - 1) / 2
        i = j
    return out


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    up = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return up / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


@torch.no_grad()
def bits(model, tok, texts):
    """Bits of each text, all of its tokens scored, <s> before the first."""
    windows = []
    for number, text in enumerate(texts):
        ids = [tok.bos_token_id] + tok(text, add_special_tokens=False, verbose=False)["input_ids"]
        at, scored = 0, 1
        while scored < len(ids):
            piece = ids[at:at + WINDOW]
            windows.append((piece, scored - at, number))
            scored = at + len(piece)
            at = scored - KEEP
    windows.sort(key=lambda w: len(w[0]))
    total = [0.0] * len(texts)
    batch = []

    def score():
        wide = max(len(w[0]) for w in batch)
        ids = torch.full((len(batch), wide), tok.pad_token_id)
        mask = torch.zeros((len(batch), wide), dtype=torch.long)
        for row, (piece, _, _) in enumerate(batch):
            ids[row, :len(piece)] = torch.tensor(piece)
            mask[row, :len(piece)] = 1
        logp = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits.float(), -1)
        for row, (piece, first, number) in enumerate(batch):
            want = ids[row, first:len(piece)]
            got = logp[row, first - 1:len(piece) - 1].gather(1, want[:, None])
            total[number] -= got.double().sum().item() / math.log(2)
        batch.clear()
    for w in windows:
        if batch and (len(batch) + 1) * len(w[0]) > BATCH_TOKENS:
            score()
        batch.append(w)
    if batch:
        score()
    return total


@torch.no_grad()
def same_as_training_code(folder, model, tok, texts):
    """Largest difference of logits between transformers and bloom.py on these texts."""
    c = model.config
    own = Bloom(c.vocab_size, c.hidden_size, c.n_layer, c.n_head, c.layer_norm_epsilon)
    own.load_state_dict({k.removeprefix("transformer."): v.float()
                         for k, v in load_file(f"{folder}/model.safetensors").items()})
    worst = 0.0
    for text in texts:
        ids = torch.tensor([[tok.bos_token_id] + tok(text, add_special_tokens=False)["input_ids"][:WINDOW - 1]])
        worst = max(worst, (own.logits(ids) - model(input_ids=ids).logits).abs().max().item())
    return worst


def lines(path, most=None):
    out, size = [], 0
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.rstrip("\n")
            size += len(line.encode())
            if line:
                out.append(line)
            if most and size > most:
                break
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--held")
    ap.add_argument("--parallel")
    ap.add_argument("--held-bytes", type=int, default=60_000, help="of a language at most; English four times as much")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--csv")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    tok = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    with open(f"{args.model}/training_languages.csv") as f:
        amount = {r["language"]: r for r in csv.DictReader(f)}
    table, checked = [], False
    for lang, seen in amount.items():
        began = time.time()
        row = dict(language=lang, tokens_seen=int(seen["tokens_seen"]), share_of_tokens=float(seen["share_of_tokens"]),
                   bytes_seen=int(seen["bytes_seen"]))
        for part, path in (("held", args.held and f"{args.held}/{lang}.held.txt"),
                           ("parallel", args.parallel and f"{args.parallel}/{lang}.txt")):
            if not path or not os.path.exists(path):
                continue
            texts = lines(path, args.held_bytes * (4 if lang == "en" else 1) if part == "held" else None)
            if not checked:
                print(f"transformers against bloom.py: logits differ by at most "
                      f"{same_as_training_code(args.model, model, tok, texts[:20]):.2g}")
                checked = True
            for text in texts[:50]:
                assert tok.decode(tok(text, add_special_tokens=False)["input_ids"],
                                  clean_up_tokenization_spaces=False) == text, text
            total = sum(bits(model, tok, texts))
            data = "\n".join(texts).encode()
            size = sum(len(t.encode()) for t in texts)
            row[part + "_bytes"] = size
            row[part + "_bits_per_byte"] = total / size
            row[part + "_byte_entropy"] = entropy(data)
            if part == "parallel":
                row["parallel_lines"] = len(texts)
                row["parallel_bits_per_line"] = total / len(texts)
        table.append(row)
        print(" ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()),
              f"({time.time() - began:.0f} s)", flush=True)
    for key in ("held_bits_per_byte", "parallel_bits_per_byte", "parallel_bits_per_line"):
        rows = [r for r in table if key in r]
        if len(rows) > 2:
            rho = spearman([r["tokens_seen"] for r in rows], [-r[key] for r in rows])
            print(f"Spearman of tokens seen and -{key} over {len(rows)} languages: {rho:.3f}")
    rows = [r for r in table if "held_byte_entropy" in r]
    if rows:
        part = [r["held_bits_per_byte"] / r["held_byte_entropy"] for r in rows]
        rho = spearman([r["tokens_seen"] for r in rows], [-x for x in part])
        print(f"Spearman of tokens seen and -held_bits_per_byte/held_byte_entropy: {rho:.3f}")
        print(f"largest held_bits_per_byte/held_byte_entropy: {max(part):.3f}")
    if args.csv:
        keys = list(dict.fromkeys(k for r in table for k in r))
        with open(args.csv, "w", newline="") as f:
            out = csv.DictWriter(f, keys, lineterminator="\n")
            out.writeheader()
            out.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in table)


if __name__ == "__main__":
    main()
