#!/usr/bin/env bash
# Everything that one run of ten minutes on a GPU machine can tell: what the device is, whether it computes as the processor
# does, how fast kiln trains on it, and PyTorch beside it where python3 has torch (with torchvision, timm, transformers).
# Usage: benches/gpu.sh KILN DEVICE [OUT]          for example benches/gpu.sh target/release/kiln cuda:0 bench
# CASES="..." and BATCH=N replace the cases and their batch sizes, PRECISION=bf16 the precision of both; on a processor: CASES="mlp nanogpt" benches/gpu.sh KILN cpu
# A step that fails or takes too long is said and left out. The tables come last.
set -uo pipefail
kiln=$(realpath "$1"); device=$2; out=${3:-bench-gpu}
cases=${CASES:-gpt2_124m vit_base resnet50_large bert_base}; precision=${PRECISION:-f32}
here=$(cd "$(dirname "$0")" && pwd); python=${PYTHON:-python3}
mkdir -p "$out"; export KILN_BENCH_DATA="$out/data"; KILN_BENCH_DATA=$(realpath -m "$KILN_BENCH_DATA")
left() { echo $(( ${LIMIT:-600} - SECONDS )); }
try() { # file, seconds at most, command...: its output in the file
  local file=$out/$1 most=$2; shift 2
  local time=$(( $(left) < most ? $(left) : most ))
  [ "$time" -gt 5 ] || { echo "left out, no time: $*" | tee "$file"; return; }
  timeout "$time" "$@" >"$file" 2>"$file.err" || echo "exit $? of: $*" | tee -a "$file"
}

try machine.txt 30 bash -c 'nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || true; nproc; uname -r'
export KILN_CACHE_DIR="$out/cache"; rm -rf "$out/cache" # kernels: the first steps of a machine that has none
try doctor.txt 60 "$kiln" doctor
python3 "$here/cases/make_data.py" "$KILN_BENCH_DATA" --large
for case in mlp nanogpt; do
  try "parity-$case.txt" 60 "$kiln" parity "$here/cases/$case.toml" "device=cpu,$([ "$device" = cpu ] && echo cpu-plain || echo "$device")"
done
# A GPU's first kernels cost minutes a config, most of it on processors: all configs are tuned at once, each in a folder of its own.
cache() { export KILN_CACHE_DIR=$out/cache/$1; mkdir -p "$KILN_CACHE_DIR"; }
for case in $cases; do
  (cache "$case"; try "warm-$case.txt" 240 "$kiln" bench "$here/cases/$case.toml" "device=$device" "precision=$precision" ${BATCH:+batch_size=$BATCH} --warm) &
done
wait
for case in $cases; do
  (cache "$case"; try "bench-$case.txt" 60 "$kiln" bench "$here/cases/$case.toml" "device=$device" "precision=$precision" ${BATCH:+batch_size=$BATCH} --check-loss -o "$out/$case")
done
if "$python" -c 'import torch, torchvision, timm, transformers' 2>/dev/null; then
  for how in eager compile; do
    for case in $cases; do
      (cache "$case"; try "side-by-side-$how-$case.txt" 100 "$python" "$here/side_by_side.py" --kiln "$kiln" --device "$device" "$case" \
        --precision "$precision" --repeats "${REPEATS:-3}" ${BATCH:+--batch-size "$BATCH"} $([ $how = compile ] && echo --compile) -o "$out/side-by-side-$how-$case.json")
    done
  done
else
  echo "no PyTorch in $python: set PYTHON to one that has torch, torchvision, timm and transformers"
fi

echo; cat "$out/machine.txt" "$out/doctor.txt"
for case in mlp nanogpt; do echo; echo "parity, $case:"; tail -n 1 "$out/parity-$case.txt.err"; done
echo; cat "$out"/warm-*.txt.err "$out"/warm-*.txt
echo; cat "$out"/bench-*.txt
cat "$out"/side-by-side-*.txt 2>/dev/null
