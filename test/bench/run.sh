#!/usr/bin/env bash
# run.sh BUILD [--csv]: the kernels beside a bare read of the same run, then the whole job. Nothing asserts on time.
set -euo pipefail
build=$1
shift
printf 'machine: %s, %s processors, %s\n\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
    "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
"$build/test/bench_kernels" "$@"
printf '\nqdisp diagnose on the embedded model and text, 9 quantizers, 26 languages:\n'
for threads in 1 "$(nproc)"; do
    start=$(date +%s.%N)
    "$build/lib/qdisp" diagnose examples/data/model --corpus examples/data/text --threads "$threads" --json >/dev/null
    end=$(date +%s.%N)
    python3 -c "print(f'  {$threads} threads: {$end - $start:.1f} s')"
done
