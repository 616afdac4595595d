#!/usr/bin/env bash
# quickstart.sh ["PROMPT"]: install what is missing, build, start the daemon on the model in models/ with a memory budget
# of half that model's size, let it answer one prompt, and say how it went. Leaves no daemon and no file outside build/.
# MEMORY=14M ./quickstart.sh tries another budget, MODEL=FILE another model.
set -euo pipefail
cd "$(dirname "$0")"
prompt=${1:-"Tell me a story about a little fox who found a lantern in the forest."}

say() { if [ -t 2 ]; then printf '\033[2m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi >&2; }
fail() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }

case $prompt in
-h | --help) echo 'Usage: [MEMORY=SIZE] [MODEL=FILE.gguf] ./quickstart.sh ["PROMPT"]'; exit 0 ;;
esac

model=${MODEL:-$(find models -maxdepth 1 -name '*.gguf' 2>/dev/null | sort | head -n 1 || true)}
[ -n "$model" ] || fail "there is no model in models/; clone again, or name one: MODEL=FILE.gguf ./quickstart.sh"
[ -r "$model" ] || fail "$model cannot be read"

# Make's output is a log; a person sees how far it is.
progress() { # TOTAL
    local show=0
    [ ! -t 2 ] || show=1
    awk -v total="$1" -v show="$show" '
        { print >"build/quickstart.log" }
        /^ +CC / && total && show { printf "\r  %d %% ", ++n < total ? 100 * n / total : 100 >"/dev/stderr" }
        END { if (n) printf "\r        \r" >"/dev/stderr" }'
}

build() {
    tools/deps.sh
    if [ ! -f build/Makefile ]; then
        [ ! -f config.status ] || fail "this clone is configured in place, which rules out a build beside it: 'make distclean' first"
        say "Configuring (what is said goes to build/quickstart.log) ..."
        { [ -x configure ] || autoreconf -fi; } >build/quickstart.log 2>&1 || return 1
        (cd build && ../configure -q) >>build/quickstart.log 2>&1 || return 1
    fi
    local files
    files=$(make -n -C build all 2>/dev/null | grep -c '"  CC ') || true
    [ "$files" -eq 0 ] || say "Building: $files files (minutes the first time) ..."
    make -C build -j"$(nproc)" all 2>&1 | progress "$files"
}

# Two of us at once: the second waits until the first has built.
mkdir -p build 2>/dev/null || fail "this directory cannot be written; run it in a clone of your own"
exec 9<quickstart.sh
flock 9
build || {
    [ ! -f build/quickstart.log ] || tail -n 30 build/quickstart.log >&2
    fail "the build failed; the whole log is build/quickstart.log"
}
exec 9<&-

# A socket's path is short: not in $TMPDIR, which may be deep.
run=$(mktemp -d /tmp/expertd-quickstart.XXXXXX)
daemon=
cleanup() {
    trap '' INT TERM HUP PIPE
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
export EXPERTD_SOCKET=$run/expertd.sock

bytes=$(stat -Lc %s "$model")
memory=${MEMORY:-$((bytes / 2))}
said=${MEMORY:-$(mib "$memory")}
say "Starting expertd on $model: $(mib "$bytes") on disk, a budget of $said for the whole process."
build/expertd --model "$model" --memory "$memory" --context 256 --parallel 1 --socket "$EXPERTD_SOCKET" \
    --state-dir "$run/state" 2>"$run/log" >/dev/null </dev/null &
daemon=$!
until [ -S "$EXPERTD_SOCKET" ]; do
    kill -0 "$daemon" 2>/dev/null || { cat "$run/log" >&2; fail "the daemon did not start; it says why above"; }
    sleep 0.05
done
[ ! -t 2 ] || sed -n 's/^expertd: memory: /  /p' "$run/log" >&2

status=0
build/expert run -v "$prompt" 2>"$run/figures" </dev/null || status=$?
[ $status -eq 0 ] || { cat "$run/figures" "$run/log" >&2; exit $status; }
stats=$(build/expert stats --json)
figure() { printf '%s' "$stats" | sed -n "s/.*$1:\([0-9]*\).*/\1/p"; }
say "$(tail -n 1 "$run/figures"); memory budget $(mib "$(figure '"memory": *{ *"total"')"), peak $(mib "$(figure '"peak_rss"')")"
