#!/usr/bin/env bash
# Everything a newcomer needs: installs what is missing, builds, runs.
#   ./do demo    which languages does a quantization of the embedded model hurt?
#   ./do test    every test; the last line counts them
#   ./do bench   speed of kernels and jobs beside the machine's own limits; --peers: and beside other programs
#                (installs PyTorch: about 3 GB); --counts: instructions; --quick; names or patterns of cases
#   ./do asan    the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   ./do fuzz    the parsers under libFuzzer, FUZZ_SECONDS each (default 60; needs clang)
#   ./do quality what every quantizer costs every language (hours; the work can be stopped and goes on later); with the
#                path of SmolLM2-135M also that model's
#   ./do interop transformers, tokenizers, llama.cpp (if LLAMA_CPP names a built tree) beside ours: installs PyTorch,
#                about 2 GB; names of checks (test/interop/check_NAME.py)
#   ./do setup   only the set-up and the build
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }

have_lib() { pkg-config --exists "$1" 2>/dev/null; }

missing_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    command -v ninja >/dev/null || missing+=(ninja-build)
    command -v meson >/dev/null || missing+=(meson)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    # a build with threads: it is safe to call from several threads, which the serial one is not (lib/model/gemm.c)
    have_lib openblas || missing+=(libopenblas-pthread-dev)
    have_lib libutf8proc || missing+=(libutf8proc-dev)
    have_lib libpcre2-8 || missing+=(libpcre2-dev)
    have_lib jansson || missing+=(libjansson-dev)
    have_lib popt || missing+=(libpopt-dev)
    printf '%s\n' "${missing[@]}"
}

install_packages() {
    local missing root=()
    mapfile -t missing < <(missing_packages | sed '/^$/d')
    [ ${#missing[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null; then
        say "qdisp needs these (by their Debian names); install them and run again: ${missing[*]}"
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say "as root, please: apt-get install ${missing[*]}"; exit 1; }
        root=(sudo)
    fi
    say "installing: ${missing[*]}"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build FOLDER [meson options]: configures once, then compiles
build() {
    local folder=$1
    shift
    [ -f "$folder/build.ninja" ] || meson setup "$folder" "$@" >&2
    ninja -C "$folder" | tail -n 1 >&2
}

# a local virtual environment with the Python package and pytest
python_environment() {
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check pytest numpy cffi setuptools wheel
    QDISP_LIBRARY=$PWD/build/lib/libqdisp.so.0 \
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation ./bindings/python
}

# the programs that ./do bench --peers measures: one that cannot be installed becomes a row that says so
peers_environment() {
    local package
    say "peers: installing PyTorch and others into .venv-bench: about 3 GB to fetch, 6 GB on disk"
    [ -x .venv-bench/bin/python ] || python3 -m venv .venv-bench
    for package in numpy torch scipy safetensors transformers tokenizers tiktoken \
        sentencepiece optimum-quanto torchao hqq bitsandbytes pywhispercpp; do
        .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check "$package" >&2 ||
            say "peers: no $package"
    done
}

# Other programs' results beside ours. NAME...: only these checks, e.g. smollm2 tokenizers. What llama.cpp is asked
# needs LLAMA_CPP, a built source tree of it; LLAMA_PERPLEXITY or one on the path does for the plain comparison.
interop() {
    local python=.venv-interop/bin/python cache=.venv-interop/cache name failed=() llama
    [ -x $python ] || python3 -m venv .venv-interop
    $python -m pip install --quiet --disable-pip-version-check torch transformers tokenizers accelerate gguf \
        sentencepiece tiktoken safetensors compressed-tensors cffi numpy setuptools wheel
    QDISP_LIBRARY=$PWD/build/lib/libqdisp.so.0 \
        $python -m pip install --quiet --disable-pip-version-check --no-build-isolation ./bindings/python
    mkdir -p $cache
    export QDISP_LIBRARY=$PWD/build/lib/libqdisp.so.0
    llama=${LLAMA_PERPLEXITY:-${LLAMA_CPP:+$LLAMA_CPP/build/bin/llama-perplexity}}
    llama=${llama:-$(command -v llama-perplexity || true)}
    [ $# -gt 0 ] || set -- transformers archs tokenizers tiktoken sentencepiece gguf_vocab gguf llama outputs smollm2
    for name; do
        say "== $name"
        case $name in
        transformers) set -- build/lib/qdisp examples/data/model examples/data/text ;;
        archs) set -- build/lib/libqdisp.so.0 ;;
        tokenizers) set -- $cache examples/data/text ;;
        gguf_vocab)
            [ -n "${LLAMA_CPP:-}" ] || { say "skipped: LLAMA_CPP names no built source tree of llama.cpp"; continue; }
            set -- $cache "$LLAMA_CPP"
            ;;
        gguf)
            [ -n "${LLAMA_CPP:-}" ] || { say "skipped: LLAMA_CPP names no built source tree of llama.cpp"; continue; }
            set -- build/lib/qdisp build/lib/libqdisp.so.0 $cache "$LLAMA_CPP"
            ;;
        llama)
            [ -n "$llama" ] || { say "skipped: neither LLAMA_CPP nor LLAMA_PERPLEXITY is set"; continue; }
            set -- build/lib/libqdisp.so.0 $cache "$llama" ${LLAMA_CPP:+"$LLAMA_CPP"}
            ;;
        outputs) set -- build/lib/qdisp $cache ;;
        smollm2) set -- build/lib/qdisp $cache ;;
        *) set -- $cache ;;
        esac
        $python test/interop/check_"$name".py "$@" || failed+=("$name")
    done
    [ ${#failed[@]} -eq 0 ] || { say "failed: ${failed[*]}"; exit 1; }
}

case "${1:-help}" in
setup)
    install_packages
    build build
    ;;
demo)
    install_packages
    build build
    build/lib/qdisp diagnose examples/data/model --corpus examples/data/text "${@:2}"
    ;;
test)
    install_packages
    build build
    python_environment
    failed=0
    meson test -C build --no-rebuild --print-errorlogs "${@:2}" || failed=1
    .venv/bin/python -m pytest -q -rs --junitxml=build/pytest.xml bindings/python/tests || failed=1
    python3 test/count.py build/meson-logs/testlog.json build/pytest.xml || failed=1
    exit $failed
    ;;
bench)
    install_packages
    build build
    case " $* " in *" --peers "*) peers_environment ;; esac
    python3 test/bench/run.py build "${@:2}"
    ;;
quality)
    install_packages
    build build
    python_environment
    .venv/bin/python -m pip install --quiet --disable-pip-version-check altair vl-convert-python
    .venv/bin/python test/quality/run.py embedded
    .venv/bin/python test/quality/patch.py embedded
    [ $# -lt 2 ] || .venv/bin/python test/quality/run.py smollm2 --path "$2"
    .venv/bin/python test/quality/summarize.py
    ;;
asan)
    install_packages
    build build-asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
    ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson test -C build-asan --no-rebuild --print-errorlogs --no-suite install --no-suite abi "${@:2}" || true
    python3 test/count.py build-asan/meson-logs/testlog.json
    ;;
interop)
    install_packages
    build build
    interop "${@:2}"
    ;;
fuzz)
    install_packages
    command -v clang >/dev/null && clang -fsanitize=fuzzer -x c - -o /dev/null 2>/dev/null \
        <<<'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }' ||
        { say "fuzzing needs clang with its run-time library: apt-get install clang libclang-rt-14-dev"; exit 1; }
    CC=clang build build-fuzz -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true
    test/hostile/fuzz.sh build-fuzz "${FUZZ_SECONDS:-60}"
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    ;;
esac
