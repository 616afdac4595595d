#!/bin/sh
# lint.sh [DIR]: the floors and the doors of ARCHITECTURE.md, held against what the files include; and a few habits.
set -u
cd "${1:-.}" || exit 2
bad=0
complain() { echo "lint: $*"; bad=1; }

# Floor number of a folder; a file may include its own floor and those below.
floor_of() {
    case "$1" in
    base) echo 0 ;; compute) echo 1 ;; gpu) echo 2 ;; model) echo 3 ;; cache) echo 4 ;;
    prefetch) echo 5 ;; daemon) echo 6 ;; *) echo -1 ;;
    esac
}

for dir in base compute gpu model cache prefetch daemon client; do
    own=$(floor_of $dir)
    for file in $(find $dir -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | sort); do
        for inc in $(sed -n 's/^#[ ]*include[ ]*"\([a-z]*\)\/.*/\1/p' "$file" | sort -u); do
            other=$(floor_of "$inc")
            if [ $dir = client ]; then
                [ "$inc" = client ] || complain "$file: client/ includes nothing of the daemon's floors, but it includes $inc/"
            elif [ "$inc" = client ] || [ "$other" -gt "$own" ]; then
                complain "$file: $dir/ includes $inc/, which is a floor above it"
            elif [ $dir = gpu ] && [ "$inc" != gpu ] && [ "$inc" != compute ] && [ "$inc" != base ]; then
                complain "$file: gpu/ may include compute/ and base/ only, but it includes $inc/"
            elif [ "$inc" = gpu ] && [ $dir != gpu ]; then
                complain "$file: gpu/ is a module loaded at run time; nobody includes it"
            fi
        done
    done
done

# Doors: header, and the only files that may include it.
door() {
    header=$1 allowed=$2
    for file in $(grep -rlE "^#[ ]*include[ ]*<$header>" base compute gpu model cache prefetch daemon client 2>/dev/null); do
        echo "$file" | grep -qE "^($allowed)\$" || complain "$file: <$header> is for $allowed only"
    done
}
door 'lmdb\.h' 'cache/catalog\.c'
door 'liburing\.h' 'cache/io_uring\.c'
door 'uv\.h' 'daemon/[a-z_]*\.[ch]'
door 'curl/curl\.h' 'client/[a-z_]*\.c'
door 'cuda[a-z_]*\.h' 'gpu/.*'
door 'immintrin\.h' 'compute/cpu/.*'
door 'arm_neon\.h' 'compute/cpu/.*'
[ "$(grep -rlE '^#[ ]*include[ ]*<curl/curl\.h>' client 2>/dev/null | wc -l)" -le 1 ] || complain "client/: <curl/curl.h> in more than one file"

# Habits.
for file in $(find base compute model cache prefetch -name '*.c'); do
    grep -nE '(^|[^a-z_])(exit|abort|_exit)\(' "$file" | sed "s|^|lint: $file: ends the process: |" | grep . && bad=1
    grep -nE '(^|[^a-z_])log_(error|warning|info)\(' "$file" | sed "s|^|lint: $file: a library logs above debug: |" | grep . && bad=1
done
for file in $(find base compute model cache prefetch daemon client tests -name '*.c' -o -name '*.h'); do
    [ "$(head -c 3 "$file")" = "/* " ] || complain "$file: no SPDX line at the top"
    grep -nE '#[ ]*include[ ]*"[^"]*\.c"' "$file" | sed "s|^|lint: $file: includes a .c file: |" | grep . && bad=1
    awk -v f="$file" 'length($0) > 120 { print "lint: " f ":" NR ": longer than 120 columns"; found = 1 } END { exit found }' "$file" || bad=1
done
[ $bad = 0 ] && echo "lint: clean"
exit $bad
