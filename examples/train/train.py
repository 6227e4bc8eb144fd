#!/usr/bin/env python3
"""Train a small BLOOM whose languages had very uneven amounts of text.

    python train.py prepare TEXT_DIR WORK_DIR        tokenizer, token stream, held-out sample
    python train.py train WORK_DIR [--decay-steps N] goes on from WORK_DIR/checkpoint.pt if it exists
    python train.py export WORK_DIR OUT_DIR          folder for transformers, float16

TEXT_DIR is OUT_DIR/text of gather.py. A training run holds its learning rate until it is stopped (SIGTERM or
SIGINT: it saves and leaves); the run that goes on with --decay-steps N brings it down to nought in N steps and ends.
"""
import argparse
import csv
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import time

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from bloom import Bloom, SumLoss

# Parts of the text that the tokenizer is trained on, by bytes, and of the tokens seen in training; brought to a sum of
# one. The tail is a little thicker in training. Bounded by MAX_EPOCHS passes over a language's text.
TOKENIZER_SHARE = dict(en=40, fr=8.5, de=7.5, es=6.8, ru=5.6, zh=4.6, ja=3.8, pl=2.8, ko=2.2, uk=1.8, tr=1.5, vi=1.25,
                       id=1.05, el=0.88, ar=0.74, fa=0.62, fi=0.52, he=0.44, hi=0.37, th=0.31, bn=0.26, ta=0.22,
                       ka=0.18, am=0.07, sw=0.05, yo=0.04)
SHARE = TOKENIZER_SHARE | dict(el=1.05, ar=0.96, fa=0.85, fi=0.75, he=0.66, hi=0.56, th=0.48, bn=0.41, ta=0.35, ka=0.29,
                               am=0.12, sw=0.09, yo=0.08)
MAX_EPOCHS = 4
PLAN_TOKENS = 16_000_000    # length of the token stream; a run that needs more starts it again
TOKENIZER_BYTES = 50_000_000
VOCAB = 8192
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
BOS = 1
SPLIT = r" ?[\p{L}\p{M}]+| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
SENTENCE_PART = 0.5         # this part of the documents is cut into sentences

HIDDEN, LAYERS, HEADS = 192, 6, 6
CONTEXT = 256
BATCH = 8                   # sequences of CONTEXT tokens a step
PEAK_LR = 3e-3
WARMUP = 150
WEIGHT_DECAY = 0.1
SEED = 20
SAVE_SECONDS = 120
CENSUS_HEADER = ["step", "tensor", "n", "mean", "std", "excess_kurtosis", "max_abs_over_std"]
LOSS_HEADER = ["step", "tokens", "learning_rate", "loss_nats_per_token", "held_out_en_bits_per_byte"]


# ---- tokenizer and data ------------------------------------------------------------------------------------

def read_docs(text, lang, part):
    with open(f"{text}/{lang}.{part}.txt", encoding="utf-8") as f:
        docs = f.read().split("\n")[:-1]
    random.Random(f"{SEED} {lang}").shuffle(docs)
    return docs


def sentences(doc):
    return [s for s in re.split(r"(?<=[.!?؟።।])\s+|(?<=[。！？])", doc) if len(s.encode()) >= 16]


def make_tokenizer(docs, path):
    total = sum(TOKENIZER_SHARE.values())

    def sample():
        for lang, part in TOKENIZER_SHARE.items():
            room = TOKENIZER_BYTES * part / total
            for doc in docs[lang]:
                room -= len(doc.encode())
                if room < 0:
                    break
                yield doc
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.train_from_iterator(sample(), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    assert tok.get_vocab_size() == VOCAB
    tok.save(path)
    return tok


def make_stream(tok, docs, work):
    """One shuffled stream of documents in the proportions of SHARE, as token ids and language numbers."""
    total = sum(SHARE.values())
    rng = random.Random(SEED)
    items, report = [], {}
    for number, (lang, part) in enumerate(SHARE.items()):
        goal = PLAN_TOKENS * part / total
        seen = unique = unique_bytes = seen_bytes = passes = 0
        for passes in range(1, MAX_EPOCHS + 1):
            order = list(docs[lang])
            if passes > 1:
                rng.shuffle(order)
            for at in range(0, len(order), 1000):
                if seen >= goal:
                    break
                pieces, origin = [], []
                for doc in order[at:at + 1000]:
                    got = sentences(doc) if rng.random() < SENTENCE_PART else [doc]
                    pieces += got
                    origin += [len(doc.encode())] + [0] * (len(got) - 1) if got else []
                for piece, size, code in zip(pieces, origin, tok.encode_batch(pieces)):
                    if seen >= goal:
                        break
                    items.append((number, np.array([BOS] + code.ids, dtype=np.uint16)))
                    seen += len(code.ids) + 1
                    seen_bytes += len(piece.encode())
                    if passes == 1:
                        unique += len(code.ids) + 1
                        unique_bytes += len(piece.encode())
            if seen >= goal:
                break
        report[lang] = dict(stream_tokens=seen, stream_bytes=seen_bytes, text_tokens=unique, text_bytes=unique_bytes,
                            passes=round(seen_bytes / max(unique_bytes, 1), 2))
    rng.shuffle(items)
    ids = np.concatenate([i for _, i in items])
    langs = np.concatenate([np.full(len(i), n, dtype=np.uint8) for n, i in items])
    np.save(f"{work}/ids.npy", ids)
    np.save(f"{work}/langs.npy", langs)
    with open(f"{work}/stream.json", "w") as f:
        json.dump(report, f, indent=1)
    return report, len(ids)


def prepare(args):
    os.makedirs(args.work, exist_ok=True)
    docs = {lang: read_docs(args.text, lang, "train") for lang in SHARE}
    path = f"{args.work}/tokenizer.json"
    tok = Tokenizer.from_file(path) if os.path.exists(path) else make_tokenizer(docs, path)
    report, size = make_stream(tok, docs, args.work)
    for lang, r in report.items():
        print(f"{lang} tokens {r['stream_tokens']} ({r['stream_tokens'] / size:.3%}) bytes {r['stream_bytes']}"
              f" bytes/token {r['stream_bytes'] / r['stream_tokens']:.2f} passes {r['passes']}")
    held, size = [], 0
    for doc in read_docs(args.text, "en", "held")[:400]:
        held.append([BOS] + tok.encode(doc).ids)
        size += len(doc.encode())
    with open(f"{args.work}/held_en.json", "w") as f:
        json.dump(dict(bytes=size, docs=held), f)


# ---- training ----------------------------------------------------------------------------------------------

def census(model, step, path):
    with open(path, "a", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        if f.tell() == 0:
            out.writerow(CENSUS_HEADER)
        for name, p in model.named_parameters():
            x = p.detach().double().flatten()
            mean = x.mean()
            d = x - mean
            var = (d * d).mean()
            std = var.sqrt().item()
            kurt = ((d ** 4).mean() / var ** 2 - 3).item() if std > 0 else float("nan")
            top = x.abs().max().item() / std if std > 0 else float("nan")
            row = (f"{v:.5g}" for v in (mean.item(), std, kurt, top))
            out.writerow([step, "transformer." + name, x.numel(), *row])


@torch.no_grad()
def held_bits(model, held):
    nats = 0.0
    for doc in held["docs"]:
        ids = torch.tensor(doc)
        for at in range(0, len(ids) - 1, CONTEXT - 1):
            piece = ids[at:at + CONTEXT]
            z = model.logits(piece[None, :-1])[0]
            nats += torch.nn.functional.cross_entropy(z, piece[1:], reduction="sum").item()
    return nats / math.log(2) / held["bytes"]


def save(path, **state):
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def train(args):
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    ids, langs = (np.load(f"{args.work}/{n}.npy", mmap_mode="r") for n in ("ids", "langs"))
    with open(f"{args.work}/held_en.json") as f:
        held = json.load(f)
    model = Bloom(VOCAB, HIDDEN, LAYERS, HEADS)
    decay = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=WEIGHT_DECAY), dict(params=rest, weight_decay=0.0)],
                            lr=args.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
    files = {n: f"{args.work}/{n}" for n in ("checkpoint.pt", "training_census.csv", "training_loss.csv")}
    step, seen, decay_from, seconds = 0, torch.zeros(len(SHARE), dtype=torch.long), None, 0.0
    if os.path.exists(files["checkpoint.pt"]):
        state = torch.load(files["checkpoint.pt"])
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
        step, seen, decay_from, seconds = state["step"], state["seen"], state["decay_from"], state["seconds"]
        for n in ("training_census.csv", "training_loss.csv"):      # drop rows later than the checkpoint
            with open(files[n]) as f:
                rows = [r for r in f if not r[0].isdigit() or int(r.split(",")[0]) <= step]
            with open(files[n], "w") as f:
                f.writelines(rows)
        print(f"goes on at step {step}", flush=True)
    else:
        for n in ("training_census.csv", "training_loss.csv"):
            open(files[n], "w").close()
        census(model, 0, files["training_census.csv"])
    if args.decay_steps and not decay_from:
        decay_from = [step, step + args.decay_steps]
    bias = model.bias(CONTEXT)
    forward = torch.compile(model) if args.compile else model
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    windows = len(ids) // (CONTEXT - 1) - 1
    began, last_save, last_print = time.time(), time.time(), 0.0
    mean_loss, mean_n, tty, first = 0.0, 0, sys.stderr.isatty(), step

    def checkpoint():
        save(files["checkpoint.pt"], model=model.state_dict(), opt=opt.state_dict(), step=step, seen=seen,
             decay_from=decay_from, seconds=seconds + time.time() - began)

    while not stop and step < args.steps and not (decay_from and step >= decay_from[1]):
        # Every sequence starts with <s>, also in the middle of a document; targets are the next CONTEXT - 1 tokens
        # and the first of the window after.
        order = [(step * BATCH + i) % windows for i in range(BATCH)]
        raw = np.stack([ids[w * (CONTEXT - 1):(w + 1) * (CONTEXT - 1) + 1] for w in order]).astype(np.int64)
        tag = np.stack([langs[w * (CONTEXT - 1):(w + 1) * (CONTEXT - 1) + 1] for w in order])
        target = torch.from_numpy(raw)
        inputs = torch.cat([torch.full((BATCH, 1), BOS), target[:, :-1]], 1)
        twice = inputs[:, 1] == BOS             # a window at the start of a document has its own <s>
        ok = torch.ones_like(target, dtype=torch.bool)
        ok[twice, 0] = False
        lr = args.lr * min(1.0, (step + 1) / WARMUP)
        if decay_from:
            lr *= 1 - (step - decay_from[0]) / (decay_from[1] - decay_from[0])
        for group in opt.param_groups:
            group["lr"] = lr
        hidden = forward(inputs, bias)
        loss = SumLoss.apply(hidden[ok], model.word_embeddings.weight, target[ok]) / ok.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        seen += torch.from_numpy(np.bincount(tag[:, :-1].ravel(), minlength=len(SHARE)))
        mean_loss += loss.item()
        mean_n += 1
        now = time.time()
        if step & (step - 1) == 0:
            census(model, step, files["training_census.csv"])
        if step in (1, 10, 20) or step % 50 == 0:
            bits = f"{held_bits(model, held):.4f}" if step % 1000 == 0 else ""
            with open(files["training_loss.csv"], "a") as f:
                if f.tell() == 0:
                    f.write(",".join(LOSS_HEADER) + "\n")
                f.write(f"{step},{step * BATCH * (CONTEXT - 1)},{lr:.6g},{mean_loss / mean_n:.4f},{bits}\n")
            left = ((decay_from[1] if decay_from else args.steps) - step) * (now - began) / (step - first)
            if not tty:
                rate = (step - first) * BATCH * CONTEXT / (now - began)
                print(f"{time.strftime('%H:%M:%S')} step {step} loss {mean_loss / mean_n:.3f} lr {lr:.2e} "
                      f"{rate:.0f} tokens/s {f'{left / 60:.0f} min left' if left < 1e6 else ''} {bits}", flush=True)
            mean_loss, mean_n = 0.0, 0
        if tty and now - last_print > 1:
            last_print = now
            left = ((decay_from[1] if decay_from else args.steps) - step) * (now - began) / (step - first)
            print(f"\rstep {step} loss {loss.item():.3f} lr {lr:.2e} {left / 60:.0f} min left  ", end="",
                  file=sys.stderr, flush=True)
        if now - last_save > SAVE_SECONDS:
            last_save = now
            checkpoint()
    if first < step and step & (step - 1) and not stop:
        census(model, step, files["training_census.csv"])
    checkpoint()
    print(f"\nstep {step}, held-out English {held_bits(model, held):.4f} bits per byte, saved", flush=True)


# ---- export ------------------------------------------------------------------------------------------------

def seen_bytes(work, step):
    """Bytes of text of each language in the part of the stream seen by then."""
    tok = Tokenizer.from_file(f"{work}/tokenizer.json")
    width = np.array([0 if i < len(SPECIAL) else len(tok.id_to_token(i)) for i in range(VOCAB)])
    ids, langs = np.load(f"{work}/ids.npy"), np.load(f"{work}/langs.npy")
    windows = len(ids) // (CONTEXT - 1) - 1
    rounds, rest = divmod(step * BATCH, windows)
    size = np.zeros(len(SHARE))
    for times, n in ((rounds, windows), (1, rest)):
        n *= CONTEXT - 1
        size += times * np.bincount(langs[:n], weights=width[ids[:n]], minlength=len(SHARE))
    return size.astype(int).tolist()


def export(args):
    state = torch.load(f"{args.work}/checkpoint.pt")
    new = args.out.rstrip("/") + ".new"
    os.makedirs(new, exist_ok=True)
    save_file({"transformer." + k: v.to(torch.float16).contiguous() for k, v in state["model"].items()},
              f"{new}/model.safetensors", metadata={"format": "pt"})
    config = dict(architectures=["BloomForCausalLM"], model_type="bloom", vocab_size=VOCAB, hidden_size=HIDDEN,
                  n_layer=LAYERS, n_head=HEADS, layer_norm_epsilon=1e-5, initializer_range=0.02, use_cache=True,
                  bos_token_id=1, eos_token_id=2, unk_token_id=0, pad_token_id=3, attention_dropout=0.0,
                  hidden_dropout=0.0, apply_residual_connection_post_layernorm=False, slow_but_exact=False,
                  pretraining_tp=1, seq_length=CONTEXT, tie_word_embeddings=True, torch_dtype="float16")
    special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    added = {str(i): dict(content=s, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
             for i, s in enumerate(SPECIAL)}
    tok = dict(tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder=added, model_max_length=1024,
               clean_up_tokenization_spaces=False, add_prefix_space=False, padding_side="left", **special)
    for name, value in (("config.json", config), ("tokenizer_config.json", tok), ("special_tokens_map.json", special),
                        ("generation_config.json", dict(bos_token_id=1, eos_token_id=2, pad_token_id=3))):
        with open(f"{new}/{name}", "w") as f:
            json.dump(value, f, indent=2)
            f.write("\n")
    for name in ("tokenizer.json", "training_census.csv", "training_loss.csv"):
        shutil.copyfile(f"{args.work}/{name}", f"{new}/{name}")
    with open(f"{new}/training_languages.csv", "w") as f:
        f.write("language,tokens_seen,share_of_tokens,bytes_seen\n")
        size = seen_bytes(args.work, state["step"])
        whole = int(state["seen"].sum())
        for lang, n, b in zip(SHARE, state["seen"].tolist(), size):
            f.write(f"{lang},{n},{n / whole:.6f},{b}\n")
    os.makedirs(args.out, exist_ok=True)
    for name in sorted(os.listdir(new)):
        os.chmod(f"{new}/{name}", 0o644)
        os.replace(f"{new}/{name}", f"{args.out}/{name}")
    os.rmdir(new)
    print(f"step {state['step']}: {args.out}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    p = sub.add_parser("prepare")
    p.add_argument("text")
    p.add_argument("work")
    p = sub.add_parser("train")
    p.add_argument("work")
    p.add_argument("--steps", type=int, default=10**9)
    p.add_argument("--decay-steps", type=int, default=0)
    p.add_argument("--lr", type=float, default=PEAK_LR)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    p = sub.add_parser("export")
    p.add_argument("work")
    p.add_argument("out")
    args = ap.parse_args()
    dict(prepare=prepare, train=train, export=export)[args.what](args)


if __name__ == "__main__":
    main()
