#!/usr/bin/env python3
"""Counts the tests of all suites and prints the closing line: count.py LOG.json|LOG.xml ...

A meson test that prints its own 'N passed, N failed[, N skipped]' counts with these numbers, any other as one."""
import json
import re
import sys
import xml.etree.ElementTree as ET

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)


def meson_counts(path):
    passed = failed = skipped = 0
    for line in open(path, encoding="utf-8"):
        test = json.loads(line)
        closing = CLOSING.findall(test.get("stdout") or "")
        ok = test["result"] in ("OK", "EXPECTEDFAIL")
        for reason in re.findall(r"^skipped .*$", test.get("stdout") or "", re.M):
            print(f"{test['name']}: {reason}")
        if closing:
            p, f, s = (int(x or 0) for x in closing[-1])
            passed, failed, skipped = passed + p, failed + f, skipped + s
            if not ok and f == 0:  # it died after its closing line
                failed += 1
        elif test["result"] == "SKIP":
            print(f"{test['name']}: skipped")
            skipped += 1
        else:
            passed, failed = passed + ok, failed + (not ok)
    return passed, failed, skipped


def junit_counts(path):
    total = failed = skipped = 0
    for suite in ET.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests"))
        failed += int(suite.get("failures")) + int(suite.get("errors"))
        skipped += int(suite.get("skipped"))
    return total - failed - skipped, failed, skipped


def main():
    sums = [0, 0, 0]
    for path in sys.argv[1:]:
        try:
            counts = junit_counts(path) if path.endswith(".xml") else meson_counts(path)
        except (OSError, ET.ParseError, ValueError) as error:
            print(f"{path}: {error}")
            counts = (0, 1, 0)
        sums = [a + b for a, b in zip(sums, counts)]
    print(f"{sums[0]} passed, {sums[1]} failed" + (f", {sums[2]} skipped" if sums[2] else ""))
    return 1 if sums[1] or not sums[0] else 0


sys.exit(main())
