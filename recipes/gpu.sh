#!/usr/bin/env bash
# What to measure where one large GPU is at hand: parts that end within nine minutes each, the most useful first.
#
#   bash recipes/gpu.sh PART DATA OUT [--seed N] [--tiny]
#
#   resnet18    ResNet-18 on CIFAR-10, 40 epochs: full, random, hybrid, at budgets of 1.0, 0.7 and 0.5; one seed
#   airbench94  fast.yaml for 10 epochs: full, random, hybrid; ten seeds
#   airbench96  a larger network of its kind with cutout, 40 epochs: full, random, hybrid; ten seeds
#   ncfm-step   a step of distillation beside the published loop over classes, 10 and 100 classes
#   ncfm        CIFAR-10 distilled to 10 images a class, five minutes of steps, evaluated by the last epoch
#   taps        what selection costs an epoch of ResNet-18, and what choosing costs an epoch
#   fast        FAST's coreset of 10 % with ResNet-18, 200 passes over it, beside random and herding; one seed
#
# PART may be `all`. DATA is a folder that CIFAR10DataModule can read (cifar10-train-0.tar.gz and so on; for `fast` also
# cifar10-resnet56-features.npz, else features are a PCA of the pixels). What comes out goes to OUT, which may hold few and
# small files: for each comparison its run files as one archive, and a JSON for recipes/records/. A comparison that isn't
# done in time is stopped, and what is finished is kept. More seeds: --seed 10 and so on, then
#   python recipes/records.py add FOLDER FOLDER ... --name NAME --setting SETTING
# with the unpacked archives. --tiny runs all of it on a CPU with next to no data, to see that it works.
#
# It runs from a checkout, without installing, by $PYTHON (default: python3). Where jsonargparse is missing, $WHEELS is a
# folder with the wheels of jsonargparse, docstring-parser, typeshed-client and importlib-resources. $DYNSEL_COMMIT is
# the commit where the copy has no history.
set -euo pipefail

parts=(resnet18 airbench94 airbench96 ncfm-step ncfm taps fast)
case " ${parts[*]} all " in
    *" ${1:-} "*) ;;
    *)
        [ $# = 0 ] || echo "unknown part $1" >&2
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
part=$1 data=${2:?DATA is missing} out=${3:?OUT is missing}
shift 3
seed=0 tiny=
while [ $# -gt 0 ]; do
    case $1 in
        --seed) seed=${2:?--seed wants a number}; shift 2 ;;
        --tiny) tiny=1; shift ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
done
[ -d "$data" ] || { echo "DATA must be a folder, got $data" >&2; exit 2; }
mkdir -p "$out"
data=$(realpath "$data") out=$(realpath "$out")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} work=${WORK:-$(mktemp -d)} limit=${LIMIT:-500}
export PYTHONPATH="$PWD:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if ! "$python" -c 'import jsonargparse' 2>/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --find-links "${WHEELS:?jsonargparse is missing: give WHEELS}" \
        --target "$work/site" jsonargparse docstring-parser typeshed-client importlib-resources
fi

# Ends after so many seconds as by Ctrl-C, and is content with that.
within() {
    local seconds=$1 code=0
    shift
    timeout -k 30 -s INT "$seconds" "$@" || code=$?
    case $code in 0 | 124 | 130) ;; *) return "$code" ;; esac
}

# compare NAME SETTING OPTIONS...
compare() {
    local name=$1 setting=$2
    shift 2
    within "$limit" "$python" -m dynsel compare --data.init_args.root "$data" --seed_everything "$seed" \
        --out "$work/$name" "$@"
    tar -czf "$out/$name-seed$seed.tar.gz" -C "$work" "$name"
    "$python" recipes/records.py --records "$out" --page "$out/RECORDS.md" \
        add "$work/$name" --name "gpu-$name-seed$seed" --setting "$setting"
}

small=()
if [ "$tiny" ]; then
    small=(--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.precision 32 --data.init_args.batch_size 10 --seeds 1)
fi
small_resnet=("${small[@]}" ${tiny:+--model.init_args.architecture small_resnet --model.init_args.width 2})
small_fast=("${small[@]}" ${tiny:+--model.init_args.widths "[24,24,24]"})

resnet18() {
    compare resnet18 "CIFAR-10, ResNet-18, 40 epochs" --config recipes/cifar10/resnet18.yaml --seeds 1 \
        --selectors full hybrid random hybrid:budget=0.5 random:budget=0.5 hybrid:budget=0.7 random:budget=0.7 \
        --trainer.max_epochs 40 --data.init_args.batch_size 500 --model.init_args.lr 0.4 \
        --model.init_args.crop_padding 4 "${small_resnet[@]}"
}

airbench94() {
    compare airbench94 "CIFAR-10, fast.yaml, 10 epochs" --config recipes/cifar10/fast.yaml --seeds 10 \
        --selectors full random hybrid --trainer.max_epochs 10 "${small_fast[@]}"
}

airbench96() {
    compare airbench96 "CIFAR-10, fast.yaml, larger, 40 epochs" --config recipes/cifar10/fast.yaml --seeds 10 \
        --selectors full random hybrid --trainer.max_epochs 40 --model.init_args.widths "[128,384,512]" \
        --model.init_args.convs 3 --model.init_args.cutout 12 --model.init_args.lr 1.17 "${small_fast[@]}"
}

ncfm-step() {
    local options=(${tiny:+--per_class 20 --steps 1 --rounds 1 --width 8 --images_per_class 4 --real_batch 10})
    within "$((limit / 3))" "$python" recipes/benchmarks/ncfm.py "${options[@]}" 2>&1 | tee "$out/ncfm-step.txt"
    [ "$tiny" ] || within "$((limit / 2))" "$python" recipes/benchmarks/ncfm.py --classes 100 --per_class 500 2>&1 |
        tee -a "$out/ncfm-step.txt"
}

ncfm() {
    local options=(
        --config recipes/cifar10/ncfm_ipc10.yaml --data.init_args.root "$data" --out "$work/ncfm"
        --pool.folder "$work/pool" --pool.networks 5 --pool.epochs 15
    )
    local evaluation=(--evaluation.networks "[convnet]" --evaluation.repeats 3 --evaluation.epochs 500)
    if [ "$tiny" ]; then
        options+=(
            --trainer.max_steps 2 --trainer.accelerator cpu --trainer.precision 32 --pool.networks 1 --pool.epochs 1
            --pool.width 4 --distill.images_per_class 4 --distill.real_batch 4 --distill.num_frequencies 8
            --distill.compile false
        )
        evaluation=(--evaluation.networks "[convnet]" --evaluation.repeats 1 --evaluation.epochs 1)
    fi
    within "$((limit * 3 / 4))" "$python" -m dynsel distill fit "${options[@]}" --trainer.max_time 00:00:05:00
    within "$((limit / 4))" "$python" -m dynsel distill evaluate "${options[@]}" "${evaluation[@]}"
    tar -czf "$out/ncfm.tar.gz" -C "$work" --exclude='*.ckpt' ncfm
    "$python" recipes/records.py --records "$out" --page "$out/RECORDS.md" \
        add "$work/ncfm" --name gpu-ncfm --setting "CIFAR-10 distilled to 10 images a class, five minutes"
}

taps() {
    local epochs=(--samples 25600 --batch_size 256 --cycles 5) choosing=(--large)
    if [ "$tiny" ]; then
        epochs=(--samples 64 --batch_size 16 --cycles 1 --architecture small_cnn) choosing=(--n 500 --epochs 2)
    fi
    within "$((limit / 2))" "$python" recipes/benchmarks/efficiency.py "${epochs[@]}" 2>&1 | tee "$out/taps.txt"
    within "$((limit / 2))" "$python" recipes/benchmarks/overhead.py "${choosing[@]}" 2>&1 | tee -a "$out/taps.txt"
}

fast() {
    local features=pixels
    [ ! -f "$data/cifar10-resnet56-features.npz" ] || features=$data/cifar10-resnet56-features.npz:train_features
    # 5,000 images are ten batches: 20 epochs of full data are as many steps as 200 passes over them.
    compare fast "CIFAR-10, ResNet-18, 10 % of the images in 200 passes" --config recipes/cifar10/resnet18.yaml \
        --keep_ratio "$([ "$tiny" ] && echo 0.5 || echo 0.1)" --seeds 1 --selection.features "$features" \
        --selectors random:static=true,class_balance=true fast herding:max_keep_ratio=0.5 random \
        --trainer.max_epochs 20 --data.init_args.batch_size 500 --model.init_args.lr 0.4 \
        --model.init_args.crop_padding 4 "${small_resnet[@]}"
}

[ "$part" = all ] || parts=("$part")
for part in "${parts[@]}"; do
    started=$SECONDS
    "$part"
    echo "$part: $((SECONDS - started)) s, in $out"
done
