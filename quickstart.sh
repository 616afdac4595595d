#!/usr/bin/env bash
# quickstart.sh ["PROMPT"]: install what is missing, build, start the daemon on the model in models/ with a memory budget
# smaller than that model, let it answer one prompt, and say how it went.
# MEMORY=12M ./quickstart.sh ... tries another budget.
set -euo pipefail
cd "$(dirname "$0")"
prompt=${1:-"Tell me a story about a little fox who found a lantern in the forest."}

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '%s\n' "$*" >&2; }

model=$(ls models/*.gguf 2>/dev/null | head -n 1)
[ -n "$model" ] || { echo "No model in models/: this clone is incomplete." >&2; exit 1; }

tools/deps.sh
mkdir -p build
if [ ! -x build/expertd ] || [ ! -x build/expert ] || [ -n "$(find base compute model cache prefetch daemon client -newer build/expertd -name '*.[ch]' | head -n 1)" ]; then
    say "Building (a minute or two the first time) ..."
    {
        [ -x configure ] || autoreconf -fi
        [ -f build/Makefile ] || (cd build && ../configure -q)
        make -s -C build -j"$(nproc)"
    } >build/quickstart.log 2>&1 || { tail -n 30 build/quickstart.log >&2; echo "The build failed; the whole log is build/quickstart.log." >&2; exit 1; }
fi

run=$(mktemp -d)
daemon=
cleanup() {
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null; } || true
    rm -rf "$run"
}
trap cleanup EXIT
export EXPERTD_SOCKET=$run/expertd.sock

bytes=$(stat -Lc %s "$model")
memory=${MEMORY:-$((bytes * 85 / 100))}
say "$(basename "$model"): $((bytes / 1000)) kB on disk; the daemon may use $memory bytes in all."
build/expertd --model "$model" --memory "$memory" --context 512 --parallel 1 --socket "$EXPERTD_SOCKET" \
    --state-dir "$run/state" 2>"$run/log" &
daemon=$!
build/expert run -v "$prompt" || { status=$?; cat "$run/log" >&2; exit $status; }
