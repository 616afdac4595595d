#!/usr/bin/env bash
# check.sh: on a bare Debian 12, install what is needed, build with warnings as errors, and pass the whole test suite:
# lint, unit, parity, golden, residency, fault, end to end; then again under AddressSanitizer and
# UndefinedBehaviorSanitizer, and the daemon under ThreadSanitizer. --fast leaves the sanitizers out. The last line
# counts the tests; a lint or a build that fails counts as one. Exit status 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "$0")"
fast=${1:-}

log=$PWD/build-check.log
started=$SECONDS
jobs=$(nproc)
broken=0 # steps that failed without being tests

# What a person wants to see of automake's output as it goes by: what is not a pass, and in the end a count per program.
progress='
    /^(PASS|SKIP|FAIL|XFAIL|XPASS|ERROR): / {
        if (!n[$2]++) order[++programs] = $2
        if ($1 == "SKIP:") skipped[$2]++
        else if ($1 != "PASS:" && $1 != "XFAIL:") { print "  " $0; fflush() }
    }
    END { for (i = 1; i <= programs; i++)
              printf "  %-44s %5d%s\n", order[i], n[order[i]], skipped[order[i]] ? "  (" skipped[order[i]] " skipped)" : "" }'

summary() { # the counts automake printed, added up
    awk -v broken="$broken" '
        /^# (PASS|SKIP|XFAIL|FAIL|XPASS|ERROR):/ { n[$2] += $3 }
        END { printf "%d passed, %d failed, %d skipped\n", n["PASS:"] + n["XFAIL:"],
              n["FAIL:"] + n["XPASS:"] + n["ERROR:"] + broken, n["SKIP:"] }' "$log"
}

step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

quietly() { # LOG COMMAND...: what it says is shown when it fails
    local out=$1
    shift
    "$@" >"$out" 2>&1 || { grep -E -B 2 -A 8 '(error|warning):|\*\*\*' "$out" || tail -n 40 "$out"; echo "failed: $*; the log is $out"; return 1; }
}

configure() ( # DIR CONFIGURE-ARGS...
    cd "$1" && shift && ../configure -q "$@"
)

build() { # DIR CONFIGURE-ARGS...
    local dir=$1
    mkdir -p "$dir" || return 1
    [ -f "$dir/Makefile" ] || quietly "$dir/configure.log" configure "$@" || return 1
    quietly "$dir/make.log" make -C "$dir" -j"$jobs" all || return 1
    quietly "$dir/make.log" make -C "$dir" -j"$jobs" check TESTS=
}

show_failures() { # DIR: what the failing programs said
    local trs
    for trs in $(grep -rlE '^:test-result: (FAIL|ERROR|XPASS)' "$1" --include='*.trs'); do
        printf '\n-- %s\n' "${trs%.trs}.log"
        grep -vE '^(ok |PASS:)' "${trs%.trs}.log" | tail -n 60
    done
}

suite() { # DIR CONFIGURE-ARGS...
    build "$@" || { broken=$((broken + 1)); return; }
    local counted
    counted=$(wc -l <"$log")
    make -C "$1" -k -j"$jobs" check 2>&1 | tee -a "$log" | awk "$progress" && return
    show_failures "$1"
    # No counts, or none that failed: it was make that did.
    tail -n +$((counted + 1)) "$log" | grep -qE '^# (FAIL|XPASS|ERROR): +[1-9]' || {
        tail -n 20 "$log"
        broken=$((broken + 1))
    }
}

finish() {
    local line
    line=$(summary)
    printf '\n%d s in all\n%s\n' $((SECONDS - started)) "$line"
    case $line in
    "0 passed"*) exit 1 ;;
    *" 0 failed"*) exit 0 ;;
    esac
    exit 1
}

: >"$log"
step "packages"
tools/deps.sh --dev || { broken=1; finish; }
[ ! -f config.status ] || { echo "This tree is configured in place, which rules out builds beside it: 'make distclean' first."; broken=1; finish; }
[ -x configure ] || quietly "$log" autoreconf -fi || { broken=1; finish; }
step "lint"
sh tools/lint.sh . || broken=$((broken + 1))
step "build and test"
suite build-check --enable-werror
if [ "$fast" != --fast ]; then
    step "build and test under AddressSanitizer and UndefinedBehaviorSanitizer"
    suite build-asan --enable-werror --with-cuda=no --enable-sanitizers=address,undefined CFLAGS='-O1 -g'
    step "the daemon's threads under ThreadSanitizer"
    make -C build-check -j"$jobs" check-tsan 2>&1 | tee -a "$log" | awk "$progress" ||
        { show_failures build-check/tsan; broken=$((broken + 1)); }
fi
finish
