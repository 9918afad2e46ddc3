#!/usr/bin/env bash
# What is to be measured on a GPU, a stage at a time, each within 8 minutes:
#   bash experiments/gpu.sh STAGE OUT [FLAGS of the command]
# Where there is an index of packages:
#   wheels         the project and all it needs as files in OUT, to be taken along
# On the machine with the GPU, with an index or without:
#   install        an environment, .venv, from the wheels in OUT
#   engine         the full network of the paper, in turns with PEER (torch_loop.py); the small one
#   deterministic  the full network in XLA's deterministic mode, and two runs to the byte
#   graphs         both networks, convolutions in CUDA graphs (fewer launches)
#   runs           1 to 16 runs of the small network as one program
#   whole          a run at the paper's schedule, timed; the same command goes on with it
# A stage leaves out what OUT has already; checkpoints stay in results/gpu. PEER, WEIGHTS (of VGG-16)
# and PEER_PYTHON (with torch) have defaults where these files lie beside the project.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=460

fail() {
    echo "error: $1" >&2
    exit 2
}

# The first of some files that is there, or nothing.
first() {
    for file in "$@"; do
        if [[ -e $file ]]; then
            echo "$file"
            return
        fi
    done
}

stage=${1:-}
case $stage in
wheels | install | engine | deterministic | graphs | runs | whole) ;;
*) fail "'$stage' is none of wheels, install, engine, deterministic, graphs, runs, whole" ;;
esac
[[ -n ${2:-} ]] || fail "OUT is missing; name a folder for the results, or for the wheels"
out=$2
shift 2
mkdir -p "$out"
python=${PYTHON:-$(first .venv/bin/python)}
python=${python:-python3}
peer=${PEER:-$(first {..,.}/shared/peer/torch_loop.py)}
peer_python=${PEER_PYTHON:-$python}
weights=${WEIGHTS:-$(first {..,.}/shared/weights/vgg16_imagenet_conv13_f16.npz)}
requirements=${REQUIREMENTS:-requirements-cuda.txt}

# bench NAME FLAGS: a measurement into OUT/NAME.json, unless it is there.
bench() {
    local file="$out/$1.json"
    shift
    if [[ ! -e $file ]]; then
        timeout "$limit" "$python" -m experiments.bench.benchmark "$@" --json="$file" ||
            fail "$file: not measured, within $limit s; give fewer --repeats, or less of the above"
    fi
}

# simulate NAME FLAGS: a run that goes on where it was stopped; its results without checkpoints.
simulate() {
    local name=$1 work="results/gpu/$1" status=0
    shift
    timeout --signal=INT "$limit" "$python" -m experiments.simulate "$@" --workdir="$work" ||
        status=$?
    [[ $status != 124 ]] || fail "$name has not ended within $limit s; the same command goes on"
    [[ $status == 0 ]] || exit "$status"
    mkdir -p "$out/$name"
    cp "$work"/{queries.csv,result.json,config.json,curve.png} "$out/$name"
}

full=(--network=full --crop=128 --batch=8 --query_steps=30 --sections=24 --size=256 --classes=10)
case $stage in
wheels)
    "$python" -m pip wheel --wheel-dir "$out" -r "$requirements" .
    ;;
install)
    "$python" -m venv .venv
    .venv/bin/python -m pip install --no-index --find-links "$out" -r "$requirements" al_jax
    .venv/bin/python -c "import jax; print(jax.devices())"
    ;;
engine)
    against=()
    if [[ -n $peer ]] && "$peer_python" -c "import torch" 2>/dev/null; then
        against=(--peer="$peer" --peer_python="$peer_python")
    else
        echo "note: without a peer: no torch_loop.py (PEER), or no torch in $peer_python" >&2
    fi
    bench engine "${full[@]}" --repeats=3 ${against[@]+"${against[@]}"} "$@"
    bench engine_small "$@"
    ;;
deterministic)
    export XLA_FLAGS="--xla_gpu_deterministic_ops=true ${XLA_FLAGS:-}"
    bench deterministic "${full[@]}" --repeats=3
    for number in 1 2; do
        simulate "deterministic_$number" --network=full --preset=paper --initial_steps=90 \
            --max_effort=0.15 --strategies=BDa "$@"
    done
    cmp "$out"/deterministic_[12]/queries.csv && echo "both runs are the same to the byte"
    ;;
graphs)
    export XLA_FLAGS="--xla_gpu_enable_command_buffer=+CONVOLUTION ${XLA_FLAGS:-}"
    bench graphs_full "${full[@]}" --repeats=3 "$@"
    bench graphs_small "$@"
    ;;
runs)
    for count in 1 2 4 8 16; do
        bench "runs_$count" --runs=$count --repeats=3 "$@"
    done
    ;;
whole)
    simulate whole --network=full ${weights:+--weights="$weights"} --preset=paper \
        --strategies=BDa --target_dice=1 --checkpoint_seconds=60 "$@"
    ;;
esac
