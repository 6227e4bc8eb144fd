#!/bin/sh
# run.sh QDISP - runs the program as a user would, on a few languages of the embedded model and text. Prints a line for
# each failed check, "skipped NAME: reason" for what cannot be tried here, and at last "N passed, N failed".
# A case that finds several lines wrong counts once for each.
qdisp=$(realpath "$1")
root=${QDISP_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
model=$root/examples/data/model
text=$root/examples/data/text
work=$(mktemp -d "${TMPDIR:-/tmp}/qdisp-cli-XXXXXX") || exit 1
n_passed=0
n_failed=0
trap 'cd /; umount "$work/small" 2>/dev/null; chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
# under the sanitizer: the strings of options and arguments live as long as the process, by intent
printf 'leak:cli_parse\nleak:poptGetNextOpt\n' >suppressions
export LSAN_OPTIONS="suppressions=$work/suppressions:print_suppressions=0"

# run ARGS...: leaves out, err and $status
run() {
    "$qdisp" "$@" >out 2>err
    status=$?
}
pass() { n_passed=$((n_passed + 1)); }
fail() {
    n_failed=$((n_failed + 1))
    echo "FAIL $case: $*"
    head -c 400 err | sed 's/^/    stderr: /'
    echo
}
skip() { echo "skipped $case: $*"; }
expect_status() { if [ "$status" = "$1" ]; then pass; else fail "exit status $status, expected $1"; fi; }
expect_in() { if grep -qF -- "$2" "$1"; then pass; else fail "$1 does not hold '$2'"; fi; }
expect_empty() { if [ -s "$1" ]; then fail "$1 is not empty: $(head -c 200 "$1")"; else pass; fi; }
expect_json() {
    if python3 -m json.tool "$1" >/dev/null 2>json.err; then pass; else fail "$1 is not JSON: $(cat json.err)"; fi
}
expect_same() { if cmp -s "$1" "$2"; then pass; else fail "$1 and $2 differ"; fi; }
expect_no_leftovers() {
    if ls -A . ${1:+"$1"} | grep -q 'tmp-\|[.]partial$'; then
        fail "temporary files are left: $(ls -A . | grep 'tmp-\|[.]partial$')"
    else
        pass
    fi
}

# A copy of two short languages: whole runs in a second or two.
mkdir small_text
for tag in en sw; do head -n 8 "$text/$tag.txt" >"small_text/$tag.txt"; done

for file in "$root"/test/cli/case_*.sh; do
    case=$(basename "$file" .sh)
    case=${case#case_}
    . "$file"
done
echo "$n_passed passed, $n_failed failed"
[ "$n_failed" = 0 ]
