#!/usr/bin/env bash
# Everything there is to know about the GPU engine on this machine's GPU, in under nine minutes:
#
#     benchmarks/device.sh            tables go to $OUT, or benchmarks/results/
#     DRY_RUN=1 benchmarks/device.sh  shows the stages and their limits, and runs none
#
# Needs Python 3.11 with PyTorch, Triton, numpy, pillow, pytest and pytest-benchmark (PYTHON=... names another
# one), and no network. The native engine is built if its tools are there; nothing depends on it. Every stage has
# a time limit, and one that fails stops no other. Rows are in the files as soon as they are measured.
#
# Ends with 0 if all stages passed, 1 if one failed or was cut off, 3 without a CUDA device.
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD
python=${PYTHON:-python3}
total=520                      # seconds; the machine may be taken away at 540
begin=$SECONDS
out=${OUT:-benchmarks/results}
mkdir -p "$out" || exit 2
unset TRITON_INTERPRET         # on the device, not in the interpreter

# Imports work without installing: a folder in which dipedge, dipedge.kernels and dipedge.export stand as
# setup.py maps them, as links. PYTHONSAFEPATH keeps the repository's own folder dipedge from coming first.
rooms=$root/build/device
rm -rf "$rooms"
mkdir -p "$rooms/dipedge"
for file in "$root"/dipedge/*; do ln -s "$file" "$rooms/dipedge/"; done
ln -s "$root/kernels" "$root/export" "$rooms/dipedge/"
export PYTHONSAFEPATH=1 PYTHONPATH=$rooms:$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}

name=$("$python" -m benchmarks.gpu_report name) || exit 2
run=$out/$name.json
log=$out/$name.log
: > "$log"
"$python" -m benchmarks.gpu_report start "$run" || exit 2
export DIPEDGE_BENCH_REPORT=$run
trap '"$python" -m benchmarks.gpu_report table "$run"; exit 1' INT TERM

left() { echo $((total - (SECONDS - begin))); }

code=0
# stage NAME LIMIT RESERVE COMMAND...: at most LIMIT seconds, and RESERVE are left for the stages behind it.
stage() {
    local name=$1 limit=$2 reserve=$3 start=$SECONDS outcome status room last
    local part=$out/${run##*/}.part
    shift 3
    room=$(($(left) - reserve))
    [ "$limit" -lt "$room" ] || limit=$room
    echo "== $name, at most $limit s: $*" | tee -a "$log"
    if [ "$gpu" = no ]; then
        outcome="no CUDA device"
    elif [ -n "${DRY_RUN:-}" ]; then
        outcome="not run (DRY_RUN)"
    elif [ "$limit" -lt 10 ]; then
        outcome="skipped: no time was left"; code=1
    else
        # Benchmarks end by themselves, with reasons for what they left out, before they are cut off; and pytest,
        # interrupted, still says in the log what failed until then.
        DIPEDGE_BENCH_SECONDS=$((limit - 12)) timeout --signal=INT --kill-after=6 "$limit" "$@" > "$part" 2>&1
        status=$?
        last=$(tail -n 1 "$part" | tr -d '=' | cut -c1-120)
        case $status in
            0) outcome="passed, $last" ;;
            124 | 137) outcome="cut off after $limit s, $last"; code=1 ;;
            *)
                outcome="failed ($status): $(grep -E '^(FAILED|ERROR)|rror:' "$part" | tail -n 1 | cut -c1-160), $last"
                code=1
                ;;
        esac
        cat "$part" >> "$log"
        rm -f "$part"
    fi
    echo "   $outcome"
    "$python" -m benchmarks.gpu_report stage "$run" "$name" $((SECONDS - start)) "$outcome"
}

gpu=yes
case $name in no_cuda_device_*) gpu=no ;; esac

pytest=("$python" -m pytest -q -ra -c benchmarks/device.ini --rootdir=. -p no:cacheprovider)
parallel=()
# Most of their time is compiling kernels, which processors do.
if "$python" -c "import xdist" 2> /dev/null; then parallel=(-n "$(nproc)"); fi
# Files about the GPU alone: others may need what is not installed here.
mapfile -t tests < <(ls tests/test_triton_*.py; grep -l "mark\.gpu" tests/test_*.py)
mapfile -t tests < <(printf '%s\n' "${tests[@]}" | sort -u)
measure=("${pytest[@]}" -m gpu --benchmark-only --benchmark-columns=min,median,max)

native() {
    "$python" -m pip install -q --no-deps --no-build-isolation --target "$root/build/device_native" "$root" \
        && cp "$root"/build/device_native/dipedge/_native*.so "$rooms/dipedge/"
}
export -f native
export python root rooms

stage "native engine (nothing depends on it)" 40 420 bash -c native
code=0 # as it says
stage "compile" 70 350 "$python" -m benchmarks.gpu_warm
stage "GPU tests" 130 270 "${pytest[@]}" "${parallel[@]}" -m "gpu or triton_interpret" "${tests[@]}"
stage "steps" 250 100 "${measure[@]}" benchmarks/bench_gpu_steps.py
stage "kernels" 40 60 "${measure[@]}" benchmarks/bench_gpu_kernels.py
stage "quality" 300 5 "${measure[@]}" benchmarks/bench_gpu_quality.py

"$python" -m benchmarks.gpu_report table "$run"
[ "$gpu" = yes ] || exit 3
exit $code
