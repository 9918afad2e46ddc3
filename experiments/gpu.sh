#!/usr/bin/env bash
# What is to be measured on a GPU, a part at a time, results in OUT:
#   bash experiments/gpu.sh PART OUT [PEER]
# PART is one of
#   engine         the full network of the paper, with PEER (torch_loop.py) in turns; the small one
#   deterministic  the full network without a peer in XLA's deterministic mode, and two runs to the byte
#   graphs         both networks without a peer, convolutions in CUDA graphs (fewer launches)
#   runs           1 to 16 runs of the small network as one program
#   whole          a run at the paper's schedule, timed (WEIGHTS=file.safetensors for VGG-16)
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-} out=${2:-} python=${PYTHON:-python}
case $part in
engine | deterministic | graphs | runs | whole) ;;
*)
    echo "error: '$part' is none of engine, deterministic, graphs, runs, whole" >&2
    exit 2
    ;;
esac
if [[ -z $out ]]; then
    echo "error: OUT is missing; name a folder for the results" >&2
    exit 2
fi
mkdir -p "$out"
full=(--network=full --crop=128 --query_steps=30 --sections=24 --size=256 --classes=10)
case $part in
engine)
    "$python" -m experiments.bench.benchmark "${full[@]}" ${3:+--peer="$3"} --json="$out/engine.json"
    "$python" -m experiments.bench.benchmark --json="$out/engine_small.json"
    ;;
deterministic)
    export XLA_FLAGS="--xla_gpu_deterministic_ops=true ${XLA_FLAGS:-}"
    "$python" -m experiments.bench.benchmark "${full[@]}" --json="$out/deterministic.json"
    for number in 1 2; do
        "$python" -m experiments.simulate --network=full --preset=paper --initial_steps=90 \
            --max_effort=0.15 --strategies=BDa --workdir="$out/deterministic_$number"
    done
    cmp "$out"/deterministic_[12]/queries.csv && echo "both runs are the same to the byte"
    ;;
graphs)
    export XLA_FLAGS="--xla_gpu_enable_command_buffer=+CONVOLUTION ${XLA_FLAGS:-}"
    "$python" -m experiments.bench.benchmark "${full[@]}" --json="$out/graphs_full.json"
    "$python" -m experiments.bench.benchmark --json="$out/graphs_small.json"
    ;;
runs)
    for count in 1 2 4 8 16; do
        "$python" -m experiments.bench.benchmark --runs=$count --json="$out/runs_$count.json"
    done
    ;;
whole)
    time "$python" -m experiments.simulate --network=full ${WEIGHTS:+--weights="$WEIGHTS"} \
        --preset=paper \
        --strategies=BDa --target_dice=1 --checkpoint_seconds=1000 --workdir="$out/whole"
    ;;
esac
