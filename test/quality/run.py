#!/usr/bin/env python3
"""What each quantizer costs each language: run.py MODEL [--path MODEL_PATH] [--cache DIR] [--only REGEX] [--list]

MODEL is embedded or smollm2. Every task quantizes the linear maps of the blocks, evaluates the lines that calibrate
nothing, and leaves DIR/MODEL/TASK.csv: a loss a line. A task that is there already is not run again, so that the work
can be stopped at any time; most telling tasks come first. summarize.py makes test/golden/quality.csv of it.

Task names: METHOD.CALIBRATION.BITS.GROUP.DRAW; calibration is none, english, mix (every language alike) or fair (the
method's language-aware form, on the mix's text)."""
import argparse
import json
import os
import re
import sys
import time

import qdisp
import text as quality_text

BUDGET = {"embedded": 24000, "smollm2": 20000}
GROUPS = ["64", "channel"]
DRAWS = [0, 1, 2]
# method, calibration: what is asked of qdisp.Quantizer
METHODS = {
    "rtn.none": dict(method="rtn"),
    "aciq.none": dict(method="aciq"),
    "mse.none": dict(method="mse"),
    "hqq.none": dict(method="hqq"),
    "mse.english": dict(method="mse"),
    "mse.mix": dict(method="mse"),
    "la-aciq.fair": dict(method="la-aciq"),
    "awq.english": dict(method="awq"),
    "awq.mix": dict(method="awq"),
    "awq.fair": dict(method="awq", dual=3),
    "gptq.english": dict(method="gptq"),
    "gptq.mix": dict(method="gptq"),
    "gptq.fair": dict(method="gptq", dual=3),
}


def tasks():
    """Names in the order of the runs: what the verdict needs most comes first."""
    def of(rows, bits, group, draws):
        return [f"{row}.{bits}.{group}.{draw}" for draw in draws for row in rows
                if draw == 0 or not row.endswith(".none")]
    main = ["rtn.none", "gptq.mix", "gptq.english", "gptq.fair", "awq.mix", "awq.english"]
    rest = [row for row in METHODS if row not in main]
    order = []
    first, others = DRAWS[:1], DRAWS[1:]
    for rows, groups, draws in ((main, GROUPS[:1], first), (main, GROUPS[:1], others), (main, GROUPS[1:], first),
                                (rest, GROUPS, first), (main, GROUPS[1:], others), (rest, GROUPS, others)):
        for group in groups:
            for bits in (3, 4):
                order += of(rows, bits, group, draws)
    return order


class Run:
    def __init__(self, name, path, cache):
        self.name, self.folder = name, os.path.join(cache, name)
        os.makedirs(self.folder, exist_ok=True)
        self.model, self.tokenizer = qdisp.Model(path), qdisp.Tokenizer(path)
        self.text, self.evaluates = quality_text.load(name, cache)
        self.evaluation = qdisp.Corpus({tag: [lines[i] for i in self.evaluates] for tag, lines in self.text.items()})
        self.draws, self.statistics = {}, {}

    def corpus(self, draw, calibration):
        if draw not in self.draws:
            mix, english = quality_text.draw(self.text, self.evaluates, lambda s: len(self.tokenizer.encode(s)),
                                             BUDGET[self.name], draw)
            self.draws[draw] = {"mix": qdisp.Corpus(mix), "english": qdisp.Corpus(english)}
        return self.draws[draw]["english" if calibration == "english" else "mix"]

    def calibration(self, draw, calibration):
        key = draw, "english" if calibration == "english" else "mix"
        if key not in self.statistics:
            self.statistics[key] = qdisp.Calibration(self.model).collect(self.tokenizer, self.corpus(draw, calibration))
        return self.statistics[key]

    def quantize(self, task):
        method, calibration, bits, group, draw = task.split(".")
        options = dict(METHODS[f"{method}.{calibration}"], bits=int(bits),
                       group_size=int(group) if group.isdigit() else group)
        dual = options.pop("dual", 0)
        if calibration == "none":
            plan = qdisp.Quantizer(**options).plan(self.model)
            return plan, qdisp.apply_plan(plan, self.model)
        corpus, statistics = self.corpus(int(draw), calibration), self.calibration(int(draw), calibration)
        quantizer = qdisp.Quantizer(**options)
        if dual:
            plan, _ = quantizer.fair(self.model, self.tokenizer, corpus, steps=dual)
        else:
            plan = quantizer.plan(self.model, statistics)
        return plan, qdisp.apply_plan(plan, self.model, calibration=statistics, tokenizer=self.tokenizer, corpus=corpus)

    def file(self, task):
        return os.path.join(self.folder, task + ".csv")

    def keep(self, task, losses, facts):
        with open(self.file(task) + ".part", "w") as f:
            f.write("# " + json.dumps(facts) + "\n" + losses.to_csv())
        os.rename(self.file(task) + ".part", self.file(task))

    def run(self, task):
        begin = time.time()
        if task == "base":
            return self.keep(task, qdisp.losses(self.model, self.tokenizer, self.evaluation), {})
        plan, quantized = self.quantize(task)
        middle = time.time()
        losses = qdisp.losses(quantized, self.tokenizer, self.evaluation)
        n = sum(plan["n_weights"])
        facts = {"bpw": sum(plan["bits_per_weight"] * plan["n_weights"]) / n, "quantize_s": middle - begin,
                 "evaluate_s": time.time() - middle}
        if "weights" in plan.columns:
            facts["weights"] = str(plan["weights"][0])
        self.keep(task, losses, facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=["embedded", "smollm2"])
    parser.add_argument("--path", default=os.path.join(quality_text.ROOT, "examples", "data", "model"))
    parser.add_argument("--cache", default=os.path.join(quality_text.ROOT, ".quality"))
    parser.add_argument("--only", default="", help="tasks whose names match this expression")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    names = [task for task in ["base"] + tasks() if re.search(args.only, task)]
    if args.list:
        return print("\n".join(names))
    qdisp.configure(own_blas=True)
    run = Run(args.model, args.path, args.cache)
    for task in names:
        if os.path.exists(run.file(task)):
            continue
        begin = time.time()
        try:
            run.run(task)
        except (qdisp.Error, TypeError, ValueError, AttributeError) as e:
            print(f"{task}: {e}", file=sys.stderr, flush=True)
            continue
        print(f"{task} {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
