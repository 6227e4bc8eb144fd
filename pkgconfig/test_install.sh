#!/bin/sh
# test_install.sh BUILD SOURCE: installs BUILD into a staged folder, then builds examples/census.c outside the tree with
# nothing but what pkg-config says about qdisp, and runs it.
set -u
build=$1 source=$2
stage=$(mktemp -d) || exit 1
trap 'rm -rf "$stage"' EXIT
passed=0 failed=0

check() { # check WHAT COMMAND...: one line a failure
    what=$1
    shift
    if "$@" >"$stage/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $what"
        sed 's/^/    /' "$stage/log"
    fi
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

check "meson install" meson install -C "$build" --no-rebuild --destdir "$stage/root"
pc=$(find "$stage/root" -name qdisp.pc)
check "qdisp.pc is installed" test -f "$pc"
[ "$failed" -eq 0 ] || finish

export PKG_CONFIG_PATH="${pc%/*}"
# A .pc that is not relocatable names the final prefix; pkg-config then looks for it under the stage.
grep -q '^prefix=${pcfiledir}' "$pc" || export PKG_CONFIG_SYSROOT_DIR="$stage/root"
# a relocatable one needs no sysroot, and a sysroot of the caller's must not move it
grep -q '^prefix=${pcfiledir}' "$pc" && unset PKG_CONFIG_SYSROOT_DIR

flags=$(pkg-config --cflags --libs qdisp)
check "pkg-config knows qdisp" test -n "$flags"
version=$(pkg-config --modversion qdisp)
libdir=$(pkg-config --variable=libdir qdisp)
[ -n "${PKG_CONFIG_SYSROOT_DIR:-}" ] && case $libdir in "$stage"*) ;; *) libdir=$stage/root$libdir ;; esac
check "libqdisp.so is in libdir" test -e "$libdir/libqdisp.so"

mkdir "$stage/outside"
cp "$source/examples/census.c" "$stage/outside"
cd "$stage/outside" || exit 1
# shellcheck disable=SC2086  # the flags are words
check "census.c builds outside the tree" ${CC:-cc} -std=c11 -Wall -Werror census.c $flags -o census
LD_LIBRARY_PATH=$libdir ./census "$source/examples/data/model" csv >census.csv 2>&1
check "census runs on the embedded model" test $? -eq 0
check "it prints the embedding's row" grep -q word_embeddings census.csv

printf '#include <qdisp/qdisp.h>\n#include <string.h>\nint main(void) { return strcmp(qdisp_version(), "%s"); }\n' \
    "$version" >version.c
# shellcheck disable=SC2086
check "version.c builds" ${CC:-cc} -std=c99 version.c $flags -o version
check "the library's version is that of qdisp.pc" env LD_LIBRARY_PATH="$libdir" ./version

for header in "$source"/include/qdisp/*.h; do
    name=${header##*/}
    printf '#include <qdisp/%s>\nint main(void) { return 0; }\n' "$name" >one.c
    # shellcheck disable=SC2086
    check "qdisp/$name is installed and stands alone" ${CC:-cc} -std=c99 -Werror one.c $flags -o one
done

command=$(find "$stage/root" -path '*/bin/qdisp')
check "the qdisp program is installed" test -x "$command"
[ -n "$command" ] && check "the qdisp program runs" env LD_LIBRARY_PATH="$libdir" "$command" --version
finish
