#!/usr/bin/env python3
"""From the runs of run.py to test/golden/quality.csv and the tables of the README: summarize.py [--cache DIR]

quality.csv: a row a model, quantizer, draw and language: dNLL in bits per byte against the unquantized model, on lines
that nothing was calibrated on, with a 95 % interval paired by line (qdisp.compare).

The tables: mean and worst language, averaged over draws, with 95 % intervals from 4000 resamples of the lines, the same
for all languages, draws and quantizers (percentile; the largest of several noisy numbers is biased upwards, for all
quantizers alike). What section 10 of the plan asks of a ratio is printed with the interval of the ratio."""
import argparse
import csv
import glob
import io
import json
import os

import numpy as np
import qdisp
import text as quality_text

OUT = os.path.join(quality_text.ROOT, "test", "golden", "quality.csv")
RESAMPLES = 4000


def read(path):
    """(facts, table text)"""
    with open(path) as f:
        return json.loads(f.readline()[2:]), f.read()


def table(path, text):
    part = path + ".table"
    with open(part, "w") as f:
        f.write(text)
    try:
        return qdisp.Table.from_csv(part, "losses")
    finally:
        os.remove(part)


def per_line(text):
    """{language: ([lines] nll in bits, [lines] bytes)}"""
    made = {}
    for row in csv.DictReader(io.StringIO(text)):
        made.setdefault(row["language"], []).append((float(row["nll_nats"]) / np.log(2), float(row["n_bytes"])))
    return {language: np.array(rows).T for language, rows in made.items()}


class Results:
    def __init__(self, cache, model):
        folder = os.path.join(cache, model)
        base = os.path.join(folder, "base.csv")
        self.model, self.rows, self.bits, self.facts = model, [], {}, {}
        base_table, base_bits = table(base, read(base)[1]), per_line(read(base)[1])
        self.languages = list(base_bits)
        self.bytes = np.array([base_bits[tag][1] for tag in self.languages])
        for path in sorted(glob.glob(os.path.join(folder, "[!p]*.*.csv"))):
            task = os.path.basename(path)[:-4]
            facts, text = read(path)
            mine = per_line(text)
            self.bits[task] = np.array([mine[tag][0] - base_bits[tag][0] for tag in self.languages])
            self.facts[task] = facts
            compared = qdisp.compare(base_table, table(path, text))
            for i in range(len(compared)):
                self.rows.append([model, *task.split("."), f"{facts['bpw']:.3f}", compared["language"][i]] +
                                 [f"{compared[c][i]:.5f}" for c in ("baseline_bpb", "loss_bpb", "low_bpb", "high_bpb")])
        draw = np.random.default_rng(0).integers(0, self.bytes.shape[1], (RESAMPLES, self.bytes.shape[1]))
        self.weight = np.array([np.bincount(d, minlength=self.bytes.shape[1]) for d in draw])

    def quantizers(self, bits, group):
        """{"method.calibration": tasks, one a draw}"""
        found = {}
        for task in self.bits:
            method, calibration, b, g, _ = task.split(".")
            if (b, g) == (str(bits), group):
                found.setdefault(f"{method}.{calibration}", []).append(task)
        return found

    def losses(self, tasks, weight=None):
        """[draws, languages(, resamples)] bits per byte"""
        weight = np.ones((1, self.bytes.shape[1])) if weight is None else weight
        return np.array([(self.bits[t] @ weight.T) / (self.bytes @ weight.T) for t in tasks])

    def statistics(self, tasks):
        point, spread = self.losses(tasks)[:, :, 0], self.losses(tasks, self.weight)
        mean, worst = point.mean(1).mean(), point.max(1).mean()
        return {"mean": mean, "worst": worst, "who": [self.languages[i] for i in point.argmax(1)],
                "means": spread.mean(1).mean(0), "worsts": spread.max(1).mean(0), "n": len(tasks),
                "range": (point.max(1) - point.min(1)).mean()}


def interval(values):
    return "[{:.3f}, {:.3f}]".format(*np.quantile(values, [0.025, 0.975]))


def print_table(results, bits, group):
    found = {name: results.statistics(tasks) for name, tasks in results.quantizers(bits, group).items()}
    if not found:
        return
    print(f"\n{results.model}, {bits} bits, group {group}: dNLL in bits per byte\n")
    print("| quantizer | calibration | draws | mean | 95 % | worst | 95 % | worst language | max - min |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, s in sorted(found.items(), key=lambda item: item[1]["worst"]):
        method, calibration = name.split(".")
        print(f"| {method} | {calibration} | {s['n']} | {s['mean']:.3f} | {interval(s['means'])} | {s['worst']:.3f} | "
              f"{interval(s['worsts'])} | {', '.join(dict.fromkeys(s['who']))} | {s['range']:.3f} |")
    fair = {name: s for name, s in found.items() if name.endswith(".fair")}
    if not fair:
        return
    best = min(fair, key=lambda name: fair[name]["worst"])
    print(f"\nBest fair quantizer: {best}. Ratios of worst languages (wanted), and of means to the best:\n")
    for rival, wanted in (("rtn.none", .25), ("gptq.english", .5), ("awq.english", .5), ("gptq.mix", .8)):
        if rival in found:
            ratio = fair[best]["worsts"] / found[rival]["worsts"]
            print(f"    worst, {best} / {rival}: {fair[best]['worst'] / found[rival]['worst']:.3f} {interval(ratio)} "
                  f"(at most {wanted})")
    least = min(found, key=lambda name: found[name]["mean"])
    print(f"    mean, {best} / {least}: {fair[best]['mean'] / found[least]['mean']:.3f} "
          f"{interval(fair[best]['means'] / found[least]['means'])} (at most 1.03)")


def plot(results, path):
    """The losses of the main quantizers at 3 bits, groups of 64: a panel a model, the first draw."""
    from qdisp import plot as charts
    names = {"rtn.none": "RTN", "gptq.english": "GPTQ, English", "gptq.mix": "GPTQ, even mix",
             "gptq.fair": "GPTQ, fair"}
    columns = {c: [] for c in ("language", "quantizer", "model", "loss_bpb", "low_bpb", "high_bpb")}
    for result in results:
        for model, method, calibration, bits, group, draw, _, language, _, *losses in result.rows:
            name = names.get(f"{method}.{calibration}")
            if name and (bits, group, draw) == ("3", "64", "0"):
                for column, value in zip(columns, [language, name, model, *map(float, losses)]):
                    columns[column].append(value)
    for model in dict.fromkeys(columns["model"]):
        rows = {c: [v for v, m in zip(values, columns["model"]) if m == model] for c, values in columns.items()}
        charts.losses(rows, color="quantizer", order=list(names.values()),
                      title=f"{model}, 3 bits, groups of 64").save(path.format(model))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", default=os.path.join(quality_text.ROOT, ".quality"))
    parser.add_argument("--out", default=OUT)
    args = parser.parse_args()
    results = [Results(args.cache, model) for model in ("embedded", "smollm2")
               if os.path.exists(os.path.join(args.cache, model, "base.csv"))]
    with open(args.out, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("model method calibration bits group draw bpw language base_bpb loss_bpb low_bpb high_bpb".split())
        out.writerows(row for result in results for row in result.rows)
    plot(results, os.path.join(os.path.dirname(args.out), "quality_{}.svg"))
    for result in results:
        for bits in (4, 3):
            for group in ("64", "channel"):
                print_table(result, bits, group)


if __name__ == "__main__":
    main()
