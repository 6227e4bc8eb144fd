#!/usr/bin/env bash
# neon.sh ROOT: compiles the kernels for aarch64 with a cross compiler, and runs their tests if an emulator is there.
# What is missing is named: Debian's gcc-aarch64-linux-gnu with libc6-dev-arm64-cross, and qemu-user.
set -euo pipefail
root=$1
cc=aarch64-linux-gnu-gcc
if ! command -v $cc >/dev/null; then
    echo "skipped neon: no $cc"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$root"
for program in reference rows kernels; do
    $cc -std=c11 -D_GNU_SOURCE -O2 -ffp-contract=off -Iinclude -Ilib -Itest -static "test/kernels/test_$program.c" \
        lib/kernels/{cpu,isas,load,kernels_c,kernels_neon}.c lib/kernels/c_*.c -lm -o "$folder/$program"
done
if ! command -v qemu-aarch64 >/dev/null; then
    echo "skipped neon run: no qemu-aarch64; it compiles"
    echo "1 passed, 0 failed, 1 skipped"
    exit 0
fi
qemu-aarch64 "$folder/reference"
qemu-aarch64 "$folder/rows"
qemu-aarch64 "$folder/kernels" | sed 's/^skipped .*//'
