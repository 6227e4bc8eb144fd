#!/usr/bin/env python3
"""Do the outlier layers cause the disparity? patch.py MODEL [--path MODEL_PATH] [--cache DIR] [--random N] [--bits 3,4]

Round to nearest quantizes every linear map of the blocks, groups of 64. Then some layers are patched back to full
precision: the outlier layers (the quarter of the layers whose largest weight kurtosis is highest), and N random sets of
as many layers (all of them, if there are no more). If outlier layers carry the disparity, patching them lowers it by
more than a random set does. Prediction stated beforehand: it does. Writes test/golden/patching.csv: a row a model, bits
and set of layers."""
import argparse
import csv
import itertools
import math
import os
import random

import numpy as np
import qdisp
import text as quality_text
from run import Run
from summarize import interval, per_line, read

OUT = os.path.join(quality_text.ROOT, "test", "golden", "patching.csv")


def outlier_layers(model):
    census = model.census()
    most = {}
    for layer, kurtosis, role in zip(census["layer"], census["kurtosis"], census["role"]):
        if layer >= 0 and "norm" not in role and np.isfinite(kurtosis):
            most[int(layer)] = max(most.get(int(layer), -np.inf), kurtosis)
    n = max(1, len(most) // 4)
    return sorted(sorted(most, key=lambda layer: -most[layer])[:n]), len(most)


def patched(plan, layers):
    """The plan without the rows of some layers."""
    rows = plan.to_csv().splitlines(keepends=True)
    column = next(csv.reader(rows[:1])).index("layer")
    kept = [row for row in rows[1:] if int(next(csv.reader([row]))[column]) not in layers]
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"patched-{os.getpid()}.csv")
    with open(path, "w") as f:
        f.writelines(rows[:1] + kept)
    try:
        return qdisp.Table.from_csv(path, "plan")
    finally:
        os.remove(path)


def measure(run, sets, bits):
    plan = qdisp.Quantizer("rtn", bits=bits, group_size=64).plan(run.model)
    for name, layers in sets.items():
        task = f"patch-{name}.none.{bits}.64.0"
        if os.path.exists(run.file(task)):
            continue
        quantized = qdisp.apply_plan(patched(plan, layers), run.model)
        run.keep(task, qdisp.losses(quantized, run.tokenizer, run.evaluation), {"layers": sorted(layers)})
        print(task, flush=True)


def statistics(run, base, task, weights):
    mine = per_line(read(run.file(task))[1])
    n_bytes = np.array([lines[1] for lines in base.values()])
    lost = np.array([mine[tag][0] - base[tag][0] for tag in base])
    losses = (lost @ weights.T) / (n_bytes @ weights.T)
    return {"mean": losses.mean(0), "worst": losses.max(0), "disparity": losses.max(0) - losses.min(0)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=["embedded", "smollm2"])
    parser.add_argument("--path", default=os.path.join(quality_text.ROOT, "examples", "data", "model"))
    parser.add_argument("--cache", default=os.path.join(quality_text.ROOT, ".quality"))
    parser.add_argument("--random", type=int, default=10)
    parser.add_argument("--bits", default="3,4")
    args = parser.parse_args()
    qdisp.configure(own_blas=True)
    run = Run(args.model, args.path, args.cache)
    if not os.path.exists(run.file("base")):
        run.run("base")
    outliers, n_layer = outlier_layers(run.model)
    sets = {"none": [], "outlier": outliers}
    if math.comb(n_layer, len(outliers)) <= args.random:
        others = list(itertools.combinations(range(n_layer), len(outliers)))
    else:
        others = [random.Random(i).sample(range(n_layer), len(outliers)) for i in range(args.random)]
    others = [sorted(layers) for layers in others if sorted(layers) != outliers]
    sets.update({f"random{i}": layers for i, layers in enumerate(others)})
    base = per_line(read(run.file("base"))[1])
    n = len(run.evaluates)
    draws = np.random.default_rng(0).integers(0, n, (4000, n))
    weights = np.array([np.ones(n)] + [np.bincount(d, minlength=n) for d in draws])
    rows = []
    for bits in map(int, args.bits.split(",")):
        measure(run, sets, bits)
        found = {name: statistics(run, base, f"patch-{name}.none.{bits}.64.0", weights) for name in sets}
        for name in sets:
            rows.append([args.model, bits, name, " ".join(map(str, sorted(sets[name])))] +
                        [f"{found[name][c][0]:.5f}" for c in ("mean", "worst", "disparity")])
        for column in ("mean", "worst", "disparity"):
            chance = np.mean([found[f"random{i}"][column] for i in range(len(others))], axis=0)
            gain, by_chance = found["none"][column] - found["outlier"][column], found["none"][column] - chance
            below = sum(found[f"random{i}"][column][0] <= found["outlier"][column][0] for i in range(len(others)))
            print(f"{args.model} {bits} bits, {column}: {found['none'][column][0]:.3f}; patching {len(outliers)} "
                  f"outlier layers of {n_layer} takes {gain[0]:.3f} {interval(gain[1:])} off, as many random layers "
                  f"{by_chance[0]:.3f} {interval(by_chance[1:])}; {below} of {len(others)} random sets do as well")
    old = []
    if os.path.exists(OUT):
        with open(OUT) as f:
            old = [row for row in list(csv.reader(f))[1:] if row[0] != args.model]
    with open(OUT, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("model bits patched layers mean_bpb worst_bpb disparity_bpb".split())
        out.writerows(sorted(old + [[str(cell) for cell in row] for row in rows]))


if __name__ == "__main__":
    main()
