"""Text for the quality runs: what calibrates and what evaluates, never the same line.

    embedded   examples/data/text: 26 languages, 80 parallel lines; 40 evaluate
    smollm2    the Universal Declaration of Human Rights in 14 languages, 30 parallel articles; 8 evaluate

A draw takes lines of the rest at random, the same ones in every language, until all languages together have the budget
of tokens. Calibration in English alone gets the same budget: the draw's own lines, all other English ones that do not
evaluate, and then English prose that a Debian system has (/usr/share/common-licenses), in an order drawn likewise."""
import os
import random
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "test", "interop"))
LANGUAGES = "en de fr es pl tr fi id sw yo vi ru zh ar".split()
LICENCES = "/usr/share/common-licenses"


def read(folder, languages):
    text = {}
    for tag in languages:
        with open(os.path.join(folder, tag + ".txt"), encoding="utf-8") as f:
            text[tag] = f.read().splitlines()
    return text


def load(model, cache):
    """(lines by language, numbers of the lines that evaluate)"""
    if model == "embedded":
        folder = os.path.join(ROOT, "examples", "data", "text")
        languages = sorted(n[:-4] for n in os.listdir(folder) if n.endswith(".txt"))
        text, n_eval = read(folder, languages), 40
    else:
        import udhr
        text, n_eval = read(os.path.join(udhr.gather(os.path.join(cache, "udhr")), "parallel"), LANGUAGES), 8
    lines = list(range(len(text["en"])))
    random.Random(1).shuffle(lines)
    return text, sorted(lines[:n_eval])


def prose():
    """English paragraphs of 200 to 1500 characters."""
    made = []
    for name in sorted(os.listdir(LICENCES)) if os.path.isdir(LICENCES) else []:
        path = os.path.join(LICENCES, name)
        if os.path.islink(path):
            continue
        with open(path, encoding="utf-8", errors="ignore") as f:
            made += [" ".join(p.split()) for p in re.split(r"\n\s*\n", f.read())]
    return sorted({p for p in made if 200 <= len(p) <= 1500})


def draw(text, evaluates, tokens_of, budget, seed):
    """(mix, english): two dicts of languages to lines, each of about `budget` tokens."""
    rest = [i for i in range(len(text["en"])) if i not in evaluates]
    random.Random(100 + seed).shuffle(rest)
    n, taken = 0, []
    for i in rest:
        if n >= budget:
            break
        taken.append(i)
        n += sum(tokens_of(lines[i]) for lines in text.values())
    mix = {tag: [lines[i] for i in taken] for tag, lines in text.items()}
    more = prose()
    random.Random(100 + seed).shuffle(more)
    english, m = [], 0
    for line in [text["en"][i] for i in rest] + more:
        if m >= n:
            break
        english.append(line)
        m += tokens_of(line)
    if m < 0.9 * n:
        raise SystemExit(f"only {m} tokens of English, {n} are needed: {LICENCES} has too little")
    return mix, {"en": english}
