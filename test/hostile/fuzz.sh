#!/usr/bin/env bash
# fuzz.sh BUILD SECONDS: every fuzz target for that long, from the named broken files. Fails on the first finding.
set -euo pipefail
build=$1 seconds=$2
for target in "$build"/test/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/fuzz_}
    corpus=$(mktemp -d)
    find test/hostile -type f -size -1000k -exec cp --backup=numbered -t "$corpus" {} + 2>/dev/null
    echo "fuzzing $name for $seconds s"
    "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 "$corpus" 2>&1 |
        grep -E 'stat::number_of_executed_units|ERROR|SUMMARY|Done' || true
    [ "${PIPESTATUS[0]}" -eq 0 ] || { echo "$name: a finding, see above"; exit 1; }
    rm -rf "$corpus"
done
