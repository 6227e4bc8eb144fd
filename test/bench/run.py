#!/usr/bin/env python3
"""run.py BUILD [--peers [--keep-memory]] [--counts] [--csv] [--quick] [--threads 1,2] [CASE...]

One table: the kernels and jobs of BUILD/test/bench beside the machine's limits and, with --peers, beside other programs
(bench_peers.py, run by the Python that has them: --python, default .venv-bench/bin/python). Also written to
BUILD/bench.txt and BUILD/bench.csv. CASE: names or patterns. --counts: instructions an item instead, by callgrind,
which are free of noise. Nothing asserts on time."""
import argparse
import csv
import datetime
import fnmatch
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Peers make temporaries as large as their inputs. As a rule the C library gives each back to the system, whose page
# faults can then take nine tenths of the time; with --keep-memory it keeps them, in the peers' favour.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
SCALES = {"G": 1e-9, "M": 1e-6, "k": 1e-3}


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "?"


def first_match(path, pattern):
    with open(path, encoding="utf-8") as f:
        found = re.search(pattern, f.read(), re.M)
    return found.group(1) if found else "?"


def machine(build):
    log = os.path.join(build, "meson-logs", "meson-log.txt")
    compiler = first_match(log, r"^C compiler for the host machine: .*?\((.*)\)$")
    blas = os.path.realpath(os.path.join(output_of("pkg-config", "--variable=libdir", "openblas"), "libopenblas.so"))
    blas = f"{output_of('pkg-config', '--modversion', 'openblas')} ({os.path.basename(os.path.dirname(blas))})"
    flags = first_match("/proc/cpuinfo", r"^(?:flags|Features)\s*: (.*)").split()
    isas = [flag for flag in ("avx2", "avx512f", "asimd") if flag in flags]
    processor = first_match("/proc/cpuinfo", r"^model name\s*: (.*)")
    memory = int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)")) / 1e6
    return [f"date       {datetime.datetime.now():%Y-%m-%d %H:%M}, load {os.getloadavg()[0]:.2f}",
            f"revision   {output_of('git', '-C', HERE, 'describe', '--always', '--dirty')}",
            f"processor  {processor}, {os.cpu_count()} processors, {' '.join(isas)}",
            f"memory     {memory:.1f} GB",
            f"system     {first_match('/etc/os-release', 'PRETTY_NAME=.(.*).$')}, Linux {os.uname().release}",
            f"compiler   {compiler}",
            f"openblas   {blas}"]


def measured(command, cores=None, threads=1, variables=None):
    """Rows of a program that prints them as CSV, each announced as it comes."""
    def confine():
        if cores:
            os.sched_setaffinity(0, cores)

    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads),
                       **(variables or {}))
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=confine, env=environment) as process:
        for line in process.stdout:
            lines.append(line)
            if sys.stderr.isatty():
                print("\r\033[K" + " ".join(line.split(",")[:3]), end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    rows = [row for row in csv.DictReader(io.StringIO("".join(lines))) if row["note"] is not None]  # whole lines
    if process.returncode:
        print(f"{command[-1]} ended with {process.returncode} after {len(rows)} rows", file=sys.stderr)
    return rows


def peers(python, arguments, threads, variables):
    """The peers' rows, a process for every number of threads, confined to as many processors."""
    rows = []
    for n in threads:
        cores = sorted(os.sched_getaffinity(0))[-n:]
        command = [python, os.path.join(HERE, "bench_peers.py"), "--threads", str(n), *arguments]
        rows += measured(command, cores, n, variables)
    return rows


def item_seconds(row):
    return float(row["best_s"]) / float(row["n"]) if row["best_s"] else None


def joined(ours, theirs):
    """Peers after the library's rows of their case, and how many times as fast the library is with as many threads."""
    fastest = {}
    for row in ours:
        if row["best_s"] and not row["case"].startswith("("):
            key = row["case"], row["threads"]
            fastest[key] = min(fastest.get(key, 1e300), item_seconds(row))
    order = list(dict.fromkeys(row["case"] for row in ours + theirs))
    for row in theirs:
        best = fastest.get((row["case"], row["threads"]))
        row["times"] = f"{item_seconds(row) / best:.1f}" if best and row["best_s"] else ""
    return sorted(ours + theirs, key=lambda row: (order.index(row["case"]), int(row["threads"])))


def shown(row):
    """A row of the printed table, from one of the CSV."""
    cells = [row["case"], row["by"], row["threads"]]
    if not row["best_s"]:
        return cells + [""] * 8 + [row["note"]]
    best, median, worst, n = (float(row[k]) for k in ("best_s", "median_s", "worst_s", "n"))
    scale = SCALES.get(row["unit"][0], 1)
    rates = (best, median) if row["unit"] == "s" else (scale * n / best, scale * n / median)
    moved, limit = float(row["bytes"] or 0), float(row["limit_s"] or 0)
    return cells + [f"{n:.0f}", f"{rates[0]:.4g}", f"{rates[1]:.4g}", f"{100 * (worst - best) / median:.0f}%",
                    row["unit"], f"{1e-9 * moved / best:.2f}" if moved else "",
                    f"{limit / best:.2f} {row['limit']}" if limit else "", row.get("times", ""), row["note"]]


def aligned(rows):
    titles = ["case", "by", "th", "n", "best", "median", "spread", "unit", "GB/s", "of limit", "qdisp x", "note"]
    table = [titles] + rows
    widths = [max(len(r[i]) for r in table) for i in range(len(titles))]
    left = {0, 1, 7, 9, 11}

    def line(cells):
        padded = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
        return "  ".join(padded).rstrip()
    return "\n".join(line(cells) for cells in table)


def counts(bench, names):
    """Instructions an element: callgrind's count of three passes less that of one, so that the set-up drops out."""
    cases = output_of(bench, "--list").split()
    print(f"{'case':<24} {'isa':<6} {'n':>10} {'instr/item':>12}")
    for name in [k for k in cases if any(fnmatch.fnmatch(k, p) for p in names or ["*"])]:
        for isa in ("c", "neon" if os.uname().machine == "aarch64" else "avx2"):  # callgrind knows no AVX-512
            total = {}
            for passes in (1, 3):
                run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", bench, "--csv",
                                      "--threads", "1", "--isa", isa, "--passes", str(passes), name],
                                     capture_output=True, text=True, check=False)
                found = re.search(r"Collected : (\d+)", run.stderr)
                measured_rows = list(csv.DictReader(io.StringIO(run.stdout)))
                if found and measured_rows and measured_rows[-1]["n"]:
                    total[passes] = int(found.group(1)), float(measured_rows[-1]["n"])
            if len(total) == 2:
                n = total[1][1]
                print(f"{name:<24} {isa:<6} {n:>10.0f} {(total[3][0] - total[1][0]) / 2 / n:>12.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--python", default=os.path.join(HERE, "..", "..", ".venv-bench", "bin", "python"))
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", help="evaluate this one (GGUF for llama.cpp), not a synthetic one")
    parser.add_argument("--text", help="a file for tokenizers and the model; default: the embedded text")
    parser.add_argument("--tokenizers", help="a folder of tokenizers")
    parser.add_argument("--llama", default=shutil.which("llama-perplexity"), help="peers: llama-perplexity")
    parser.add_argument("--threads", default="1,2" if len(os.sched_getaffinity(0)) > 1 else "1")
    options = parser.parse_intermixed_args()
    bench = os.path.join(options.build, "test", "bench")
    if options.counts and not shutil.which("valgrind"):
        sys.exit("counting needs valgrind: apt-get install valgrind")
    if options.counts:
        print("\n".join(machine(options.build)) + "\n")
        counts(bench, options.cases)
        return
    if options.peers and not shutil.which(options.python):
        sys.exit(f"no {options.python}: ./do bench --peers makes it, or name one by --python")
    arguments = ["--quick"] if options.quick else []
    for name in ("model", "text", "tokenizers"):
        if getattr(options, name):
            arguments += ["--" + name, getattr(options, name)]
    arguments += options.cases
    head = machine(options.build)
    with tempfile.TemporaryDirectory() as folder:
        ours = measured([bench, "--csv", "--threads", options.threads, "--folder", folder, *arguments])
    theirs = []
    if options.peers:
        if options.llama:
            arguments = ["--llama", options.llama, *arguments]
        theirs = peers(options.python, arguments, [int(n) for n in options.threads.split(",")],
                       KEEP_MEMORY if options.keep_memory else None)
    rows = joined(ours, theirs)
    text = "\n".join(head) + "\n\n" + aligned([shown(row) for row in rows]) + "\n"
    with open(os.path.join(options.build, "bench.txt"), "w", encoding="utf-8") as f:
        f.write(text)
    with open(os.path.join(options.build, "bench.csv"), "w", encoding="utf-8", newline="") as f:
        fields = [*ours[0], "times"] if ours else ["case", "times"]
        writer = csv.DictWriter(f, fields, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if options.csv:
        with open(os.path.join(options.build, "bench.csv"), encoding="utf-8") as f:
            text = f.read()
    print(text, end="")


main()
