#!/usr/bin/env bash
# check.sh: on a bare Debian 12, install what is needed, build with warnings as errors, and pass the whole test suite:
# lint, unit, parity, golden, residency, fault, end to end; then again under AddressSanitizer and
# UndefinedBehaviorSanitizer. --fast leaves the second pass out.
set -euo pipefail
cd "$(dirname "$0")"
fast=${1:-}

log=$PWD/build-check.log

# What a person wants to see of automake's output as it goes by: each test program once, and what is not a pass.
progress='
    /^(PASS|SKIP|FAIL|XFAIL|XPASS|ERROR): / {
        name = $2
        if (name != last) { if (last != "") printf "  %-44s %d\n", last, n; last = name; n = 0; fflush() }
        n++
        if ($1 != "PASS:" && $1 != "XFAIL:" && !($1 == "SKIP:" && skipped++ > 20)) { print "  " $0; fflush() }
    }
    /(error|warning): / { print; fflush() }
    END { if (last != "") printf "  %-44s %d\n", last, n }'

summary() { # the counts automake printed, added up
    awk '/^# (PASS|SKIP|XFAIL|FAIL|XPASS|ERROR):/ { n[$2] += $3 }
         END { printf "%d passed, %d failed, %d skipped\n", n["PASS:"] + n["XFAIL:"],
               n["FAIL:"] + n["XPASS:"] + n["ERROR:"], n["SKIP:"] }' "$log"
}

step() { printf '\n== %s\n' "$*"; }

run_suite() { # DIR CONFIGURE-ARGS...
    local dir=$1 status=0
    shift
    mkdir -p "$dir"
    [ -f "$dir/Makefile" ] || (cd "$dir" && ../configure -q "$@" >configure.log 2>&1) || { tail "$dir/configure.log"; return 1; }
    make -s -C "$dir" -j"$(nproc)" all || return 1
    make -s -C "$dir" -j"$(nproc)" check TESTS= >/dev/null || return 1
    make -C "$dir" check 2>&1 | tee -a "$log" | awk "$progress" || status=1
    [ $status -eq 0 ] || show_failures "$dir"
    return $status
}

show_failures() { # DIR: what the failing programs said
    local trs
    for trs in $(grep -rlE '^:test-result: (FAIL|ERROR|XPASS)' "$1" --include='*.trs'); do
        printf '\n-- %s\n' "${trs%.trs}.log"
        tail -n 60 "${trs%.trs}.log"
    done
}

step "packages"
tools/deps.sh --dev
step "configure"
[ -x configure ] || autoreconf -fi >/dev/null 2>&1 || autoreconf -fi
rm -f "$log"
failed=0
step "lint"
sh tools/lint.sh . || failed=1
step "build and test"
run_suite build --enable-werror || failed=1
if [ "$fast" != --fast ]; then
    step "build and test under AddressSanitizer and UndefinedBehaviorSanitizer"
    run_suite build-asan --enable-werror --with-cuda=no --enable-sanitizers=address,undefined CFLAGS='-O1 -g' || failed=1
fi
printf '\n'
summary
exit $failed
