#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-gpu.sh: what `make check` does on an emulated card, on a real one (EXPERTD_TEST_GPU, 0 by default): parity of
# every kernel, format and shape, whole models, experts in three tiers, the daemon with less and less VRAM, and the first
# again under compute-sanitizer where it is installed.
# Exit status 77 where there is no CUDA device: nothing was checked.
set -u
build=${top_builddir:-.}
card=${EXPERTD_TEST_GPU:-0}
export top_builddir="$build" EXPERTD_TEST_GPU="$card"

if [ ! -e "$build/gpu/expertd-cuda.so" ]; then
    echo "check-gpu: no CUDA device can be used: this build has no module (configure found no nvcc); nothing was checked"
    exit 77
fi
found=$("$build/bench/gpu" --probe "$build/gpu/expertd-cuda.so") || {
    echo "check-gpu: $found; nothing was checked"
    exit 77
}
echo "check-gpu: $found"
failed=0
for test in tests/parity/test_gpu tests/golden/test_golden_gpu tests/residency/test_residency_gpu; do
    echo "check-gpu: $test"
    "$build/$test" -j1 || failed=1
done
echo "check-gpu: tests/e2e/gpu_residency.test"
python3 "$top_srcdir/tests/e2e/gpu_residency.test" || failed=1
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        echo "check-gpu: $tool"
        compute-sanitizer --tool $tool --target-processes all --error-exitcode 1 "$build/tests/parity/test_gpu" -j1 ||
            failed=1
    done
else
    echo "check-gpu: compute-sanitizer is not installed: no memcheck, racecheck, synccheck, initcheck"
fi
[ $failed = 0 ] && echo "check-gpu: passed"
exit $failed
