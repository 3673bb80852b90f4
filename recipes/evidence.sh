#!/usr/bin/env bash
# The comparisons that RECORDS.md is made from, or is to have: which, with how many seeds, and what each costs. Some records have
# fewer selectors, others more seeds or selectors: the commands in RECORDS.md are what was run.
#
#   bash recipes/evidence.sh DATA OUT SECTION...      e.g. bash recipes/evidence.sh data/cifar10 runs/evidence budgets rivals
#   bash recipes/evidence.sh                          lists the sections
#
# DATA is the folder of CIFAR-10, as torchvision stores it or as archives of image folders. One thread a run. Whatever is
# finished is kept, so a stopped section goes on; the same section in two shells shares its runs. At the end of a section its
# numbers go to recipes/records/ and RECORDS.md, beside those that are there. Minutes are what the run files of RECORDS.md
# tell, of one thread of processors without bfloat16 that often had other work; a free one takes down to half.
set -uo pipefail
DATA=${1:-} OUT=${2:-}
if [ $# -ge 3 ]; then DATA=$(realpath -m "$DATA") OUT=$(realpath -m "$OUT"); fi
if [ "${FEATURES:-}" ]; then FEATURES=$(realpath -m "$FEATURES"); fi
if [[ "${PYTHON:-}" == */* ]]; then PYTHON=$(realpath -s "$PYTHON"); fi
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
export OMP_NUM_THREADS=1
SMALL="--config recipes/cifar10/small.yaml"
FAST="--config recipes/cifar10/fast.yaml"

compare() { # NAME SETTING OPTIONS...
  local name=$1 setting=$2
  shift 2
  "$PYTHON" -m dynsel compare --threads 1 --evaluations 3 --data.init_args.root "$DATA" --out "$OUT/$name" "$@" || return
  "$PYTHON" recipes/records.py add "$OUT/$name" --name "$name" --setting "$setting"
}

# What a budget buys: keep ratio × budget, 75 runs and full data's curve: 220 minutes with three seeds.
budgets() {
  local cells=(full) keep budget
  for keep in 0.5 0.3 0.7 0.2; do
    for budget in 0.5 0.7 1.0; do
      cells+=("hybrid:budget=$budget,keep_ratio=$keep" "random:budget=$budget,keep_ratio=$keep")
    done
  done
  compare budgets "CIFAR-10, small.yaml, 6 epochs" $SMALL --seeds "${SEEDS:-3}" --worth --selectors "${cells[@]}"
}

# Two more seeds of the defaults, in the folder of the grid; its picture is the README's: 57 minutes.
defaults() {
  compare budgets "CIFAR-10, small.yaml, 6 epochs" $SMALL --seeds "${SEEDS:-5}" --worth --selectors full \
    hybrid:budget=0.7,keep_ratio=0.5 random:budget=0.7,keep_ratio=0.5 \
    hybrid:budget=1.0,keep_ratio=0.5 random:budget=1.0,keep_ratio=0.5
}

# The rivals: 12 methods, 160 minutes with three seeds. AlignPrune is told 1 % of the labels, which are right here anyway.
rivals() {
  local trusted=runs/evidence/trusted.npy # the same name on every machine: it is part of the method's
  mkdir -p runs/evidence
  "$PYTHON" -c "import numpy, sys; numpy.save(sys.argv[1], numpy.arange(0, 50_000, 100))" "$trusted"
  compare cifar10-small-rivals "CIFAR-10, small.yaml, 6 epochs" $SMALL --seeds "${SEEDS:-3}" --selectors full random hybrid \
    geometry orderdp repb bls "alignprune:trusted=$trusted" pfb infobatch ucb ugies
}

# Data that isn't clean: which term for wrong labels, and beside them nothing wrong, 100 minutes each; copies 90,
# the long tail 15, all together 20. TERMS=1 leaves it at the first term.
DOUBT5='hybrid:terms={"uncertainty":1,"doubt":0.5}'
DOUBTS=("$DOUBT5" 'hybrid:terms={"uncertainty":1,"doubt":1}' 'hybrid:terms={"uncertainty":1,"margin":0.5}'
  'hybrid:terms={"uncertainty":1,"trajectory":0.5}')
DOUBTS=("${DOUBTS[@]:0:${TERMS:-4}}")
stress() { # FILE OPTIONS...
  local file=$1
  shift
  compare "$file" "CIFAR-10, small.yaml, $file" $SMALL --config "recipes/stress/$file.yaml" --seeds "${SEEDS:-3}" "$@"
}
noise-20() { stress label_noise_20 --selectors full random hybrid "${DOUBTS[@]}"; }
noise-20-fresh() { # 100 minutes: seeds that no term was chosen by
  compare label_noise_20_fresh "CIFAR-10, small.yaml, label_noise_20" $SMALL --config recipes/stress/label_noise_20.yaml \
    --seed_everything 10 --seeds "${SEEDS:-5}" --selectors full random hybrid \
    'hybrid:terms={"uncertainty":1,"doubt":1}' 'hybrid:terms={"uncertainty":1,"trajectory":0.5}'
}
noise-20-long() { # 3,920 steps: 13 minutes a run
  compare label_noise_20_3920 "CIFAR-10, small.yaml, 20 epochs, label_noise_20" $SMALL --trainer.max_epochs 20 \
    --config recipes/stress/label_noise_20.yaml --seeds "${SEEDS:-3}" --selectors full random hybrid "${DOUBTS[@]}"
}
noise-none() {
  compare noise_none "CIFAR-10, small.yaml, 6 epochs" $SMALL --seeds "${SEEDS:-3}" \
    --selectors full random hybrid "${DOUBTS[@]}"
}
noise-confusion() { stress label_noise_confusion_20 --selectors full random hybrid "${DOUBTS[@]}"; }
noise-40() { stress label_noise_40 --selectors full random hybrid "${DOUBTS[@]}"; }
copies() {
  SEEDS=${SEEDS:-5} stress duplicates_30 --selection.features pixels --selectors full random hybrid 'hybrid:terms={"uncertainty":1,"once":1}'
}
long-tail() { stress long_tail_100 --selectors full random hybrid "$DOUBT5"; }
real-life() {
  stress real_life --selection.features pixels --selectors full random hybrid 'hybrid:terms={"uncertainty":1,"once":1}' \
    'hybrid:terms={"uncertainty":1,"doubt":1,"once":1}' 'hybrid:terms={"uncertainty":1,"trajectory":0.5}'
}

# The strong network: 54 minutes a run of 4 epochs, twice and six times that for 8 and 24; about a third of it where the
# processor computes in bfloat16 by AMX, over a half by AVX-512. So are the minutes of the four systems below.
fast-4() {
  compare cifar10-fast-4 "CIFAR-10, fast.yaml, 4 epochs" $FAST --trainer.max_epochs 4 --seeds "${SEEDS:-3}" \
    --selectors full random hybrid infobatch orderdp
}
fast-4-worth() {
  compare cifar10-fast-4 "CIFAR-10, fast.yaml, 4 epochs" $FAST --trainer.max_epochs 4 --seeds "${SEEDS:-3}" --worth \
    --selectors full random hybrid infobatch orderdp
}
fast-8() {
  compare cifar10-fast-8 "CIFAR-10, fast.yaml, 8 epochs" $FAST --seeds "${SEEDS:-3}" --worth \
    --selectors full random hybrid infobatch orderdp
}
fast-lengths() {
  local epochs
  for epochs in 4 8 24; do
    compare "cifar10-fast-$epochs" "CIFAR-10, fast.yaml, $epochs epochs" $FAST --trainer.max_epochs "$epochs" --seeds 1 \
      --selectors full random hybrid random:keep_ratio=0.7 hybrid:keep_ratio=0.7 'hybrid:terms={"loss":1}'
  done
}
fast-proxy() {
  compare cifar10-fast-4 "CIFAR-10, fast.yaml, 4 epochs" $FAST --trainer.max_epochs 4 --seeds 1 --selectors full random hybrid \
    'proxy:arguments={"widths":[24,32,32]},lr=1.5,momentum=0.85,weight_decay=0.00133'
}

# The four systems at their own scale. FEATURES: file of (N, d) features of a pretrained network, row i of training image i.
features() { echo "${FEATURES:?must name a file of features, as in FEATURES=features.npy bash recipes/evidence.sh ...}"; }
fast-coreset() { # 460 minutes with two seeds
  local file
  file=$(features) || return
  compare cifar10-fast-coreset "CIFAR-10, fast.yaml, 10 % of the images in 200 passes" \
    --config recipes/cifar10/fast_coreset.yaml --selection.features "$file" --seeds "${SEEDS:-2}" \
    --selectors random:static=true,class_balance=true fast herding:max_keep_ratio=0.1
}
rrd() { # 130 minutes
  compare cifar10-fast-rrd "CIFAR-10, fast.yaml, 8 epochs, RRD" --config recipes/cifar10/fast_rrd.yaml --seeds 1 \
    --selectors rrd rrd:frequencies=class,class_balance=false,curriculum=null random full
}
gstds() { # 115 minutes
  local file
  file=$(features) || return
  compare cifar10-fast-gstds "CIFAR-10, fast.yaml, 512 of 1,024 candidates, 4 epochs" $FAST --trainer.max_epochs 4 \
    --data.init_args.batch_size 512 --selection.features "$file" --seeds 1 \
    --selectors random-in-batch gstds:rule=spread gstds gstds:rule=top gstds:rule=magnitude gstds:rule=boundary
}
ncfm() { # 310 minutes
  local options=(--config recipes/cifar10/ncfm_ipc10.yaml --data.init_args.root "$DATA" --out "$OUT/ncfm-10" --threads 1
    --pool.folder "$OUT/ncfm-pool" --pool.networks 4 --pool.epochs 10 --distill.compile false --trainer.accelerator cpu)
  "$PYTHON" -m dynsel distill fit "${options[@]}" --trainer.max_steps 2000 || return
  "$PYTHON" -m dynsel distill evaluate "${options[@]}" --evaluation.networks '[convnet]' --evaluation.repeats 2 \
    --evaluation.epochs 500 || return
  "$PYTHON" recipes/records.py add "$OUT/ncfm-10" --name ncfm-10 --setting "CIFAR-10 distilled to 10 images a class, 2,000 iterations"
}
geometry() { # 65 minutes: more at random, each term left out; seeds 10 and 11
  compare geometry-terms "CIFAR-10, small.yaml, 6 epochs" $SMALL --seed_everything 10 --seeds 2 \
    --selection.features model \
    --selectors random geometry geometry:epsilon=0 geometry:rarity=0 geometry:witness=0 geometry:boundary=0 geometry:region=0
}
gstds-small() { # 35 minutes with two seeds
  local file
  file=$(features) || return
  compare cifar10-small-gstds "CIFAR-10, small.yaml, 256 of 512 candidates" $SMALL --selection.features "$file" --seeds "${SEEDS:-2}" \
    --selectors random-in-batch gstds:rule=spread gstds gstds:rule=top gstds:rule=magnitude gstds:rule=boundary
}
pods() { # 60 minutes: the keep ratio swings about 0.5, or stays there
  compare cifar10-small-pods "CIFAR-10, small.yaml, 6 epochs, keep ratio swinging about 0.5" $SMALL --seeds "${SEEDS:-3}" \
    --selectors full random hybrid random:keep_ratio=0.5 hybrid:keep_ratio=0.5 \
    --selection.keep_ratio '{"class_path":"dynsel.schedules.Oscillating","init_args":{"mean":0.5,"swing":0.2,"cycles":3}}'
}

SECTIONS="budgets defaults rivals noise-20 noise-none noise-confusion noise-40 noise-20-fresh noise-20-long copies long-tail real-life pods geometry fast-4 fast-8
  fast-4-worth fast-lengths fast-proxy gstds-small rrd gstds fast-coreset ncfm"
if [ $# -lt 3 ]; then
  echo "usage: bash recipes/evidence.sh DATA OUT SECTION..., sections in order of worth:"
  echo $SECTIONS
  exit 2
fi
shift 2
# All of it before the first section, which may take hours.
for section in "$@"; do
  if ! grep -qxF -- "$section" <<<"$(printf '%s\n' $SECTIONS)"; then
    echo "no section $section; there are:" $SECTIONS
    exit 2
  fi
  case $section in gstds | gstds-small | fast-coreset) (features >/dev/null) || exit 2 ;; esac
done
for section in "$@"; do
  start=$SECONDS
  "$section" || { echo "$section: stopped; the same command goes on"; exit 1; }
  echo "$section: $(((SECONDS - start) / 60)) min"
done
