#!/usr/bin/env python3
"""House rules as tests: check_tree.py ROOT LIBQDISP_SO CC CXX

Layers, unique file names, header names = map = exported symbols, headers alone in C99, C11 and C++11, calls that a
library never makes, line lengths, prefixes."""
import os
import re
import subprocess
import sys
import tempfile

ROOT, LIBRARY, CC, CXX = sys.argv[1:5]
LAYERS = "base kernels tensor tokenizer corpus model stats calib quant eval circuit study report cli".split()
# a library must not end its host, print, read its environment or change its global state
FORBIDDEN = "abort exit _exit printf puts putchar getenv setenv setlocale srand rand random signal fork system".split()
# glibc's own additions to compiled code and what a sanitizer brings
results = {"passed": 0, "failed": 0}


def check(name, problems):
    problems = list(problems)
    results["failed" if problems else "passed"] += 1
    for problem in problems:
        print(f"FAIL {name}: {problem}")


def files(folder, endings):
    for path, folders, names in os.walk(os.path.join(ROOT, folder)):
        folders[:] = [f for f in folders if not f.startswith(("build", ".", "__")) and f != "node_modules"]
        for name in names:
            if name.endswith(endings):
                yield os.path.join(path, name)


def text(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def layers():
    for path in files("lib", (".c", ".h", ".inc")):
        relative = os.path.relpath(path, os.path.join(ROOT, "lib"))
        layer = relative.split(os.sep)[0]
        if layer not in LAYERS:
            continue
        for include in re.findall(r'^#include "([^"]+)"', text(path), re.M):
            other = include.split("/")[0] if "/" in include else layer
            if other not in LAYERS:
                continue
            if layer == "cli" and other != "cli":
                yield f"{relative} includes {include}: the program includes <qdisp/...> only"
            # base/ctx.c picks the kernels for the context: the one door upward
            if LAYERS.index(other) > LAYERS.index(layer) and relative != os.path.join("base", "ctx.c"):
                yield f"{relative} includes {include}, a layer below"


def unique_names():
    seen = {}
    for path in files("lib", (".c", ".h")):
        name = os.path.basename(path)
        if name in seen:
            yield f"{path} and {seen[name]}"
        seen[name] = path


def header_names():
    names = set()
    for path in files("include", ".h"):
        code = re.sub(r"/\*.*?\*/", "", text(path), flags=re.S)
        names |= set(re.findall(r"\b(qdisp_[a-z0-9_]+)\(", re.sub(r"^typedef.*", "", code, flags=re.M)))
    return names


def abi():
    in_headers = header_names()
    in_map = set(re.findall(r"^\s+(qdisp_[a-z0-9_]+);", text(os.path.join(ROOT, "lib/libqdisp.map")), re.M))
    nm = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in nm.splitlines() if " T " in line or " D " in line}
    exported = {name for name in exported if not name.startswith(("__", "_init", "_fini"))}
    for name in sorted(in_headers ^ in_map):
        yield f"{name} is only in the {'headers' if name in in_headers else 'map'}"
    for name in sorted(in_map ^ exported):
        yield f"{name} is only {'in the map' if name in in_map else 'exported'}"


def forbidden_calls():
    nm = subprocess.run(["nm", "-D", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    used = {line.split()[-1].split("@")[0] for line in nm.splitlines()}
    for name in FORBIDDEN:
        if name in used and "asan" not in nm:
            yield f"libqdisp.so calls {name}"


def headers_alone():
    with tempfile.TemporaryDirectory() as folder:
        for path in files("include", ".h"):
            include = os.path.relpath(path, os.path.join(ROOT, "include"))
            for compiler, standard, ending in ((CC, "c99", "c"), (CC, "c11", "c"), (CXX, "c++11", "cpp")):
                if not compiler:
                    continue
                source = os.path.join(folder, "alone." + ending)
                with open(source, "w", encoding="utf-8") as f:
                    f.write(f"#include <{include}>\n")
                command = compiler.split() + [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                                              "-I", os.path.join(ROOT, "include"), "-fsyntax-only", source]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    yield f"{include} as {standard}: {run.stderr.splitlines()[0] if run.stderr else run.returncode}"


def long_lines():
    for folder in ("include", "lib", "test", "examples", "bindings/python"):
        for path in files(folder, (".c", ".h", ".py", ".inc", ".sh")):
            for i, line in enumerate(text(path).split("\n"), 1):
                if len(line) > 120:
                    yield f"{path}:{i}: {len(line)} columns"


def prefixes():
    """What crosses files has a prefix: non-static functions of lib/ are qdisp_ or qd_ (cli_ in the program)."""
    for path in files("lib", ".c"):
        for name in re.findall(r"^(?!static|typedef|extern|else|return)[a-z][\w \*]*?\b([a-z]\w*)\([^;{]*\)\s*\{$",
                               text(path), re.M):
            if not name.startswith(("qdisp_", "qd_", "cli_")) and name != "main":
                yield f"{path}: {name}"


def main():
    check("layers", layers())
    check("unique file names", unique_names())
    check("headers, map and exported symbols agree", abi())
    check("no forbidden calls", forbidden_calls())
    check("headers alone", headers_alone())
    check("lines of at most 120 columns", long_lines())
    check("prefixes", prefixes())
    print(f"{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


sys.exit(main())
