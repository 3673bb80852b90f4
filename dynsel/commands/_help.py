"""What `--help` shows: one screen per command, as text, so that no package has to be imported for it.

The parsers know all options, with types and defaults: `--help_all`. A test holds that every option named here is one
of theirs.
"""

from __future__ import annotations

__all__ = ["HELP"]

_TRAIN = """\
usage: dynsel {command} --config FILE [options]

{does}

most used options, each of which is a key of the YAML file as well:
  --config FILE                  keys model, data, trainer and selection; or dynsel:digits, a recipe; may be repeated
  --selection.budget B           share of the full training's steps to spend, in (0, 1] (default: 1; where only a keep
                                 ratio is given, an epoch is one selection and as much shorter)
  --selection.keep_ratio R       share of the training set that a selection holds, in (0, 1] (default: 0.5)
  --selection.selector SPEC      who chooses, as in random or rrd:k=8,gamma=0.5; or the class path of your own
  --selection.features SOURCE    features by file, "pixels", or "model" (default: captured while training)
  --trainer.max_epochs N         and all else that Lightning's Trainer takes: --trainer.devices 2
  --model.init_args.ARGUMENT V   any argument of your model
  --data.init_args.ARGUMENT V    any argument of your data
  --seed_everything N            seed of weights, order and selection (default: 0)
  --threads N                    CPU threads of torch
  --ckpt_path FILE               checkpoint to {checkpoint}
  --exclude FILE                 samples to leave out, as the suspects.csv of `dynsel findings`
  --print_config                 show the configuration with all overrides, and stop
  --help_all                     all options, with types and defaults (takes seconds)

example: dynsel {command} --config recipes/digits.yaml --selection.selector rrd:k=8{example}
"""

HELP = {
    "": """\
usage: dynsel <command> [options]

Dynamic per-epoch data selection for PyTorch Lightning.

commands:
  fit        train:  dynsel fit --config recipes/digits.yaml --selection.keep_ratio 0.3
  validate   evaluate a checkpoint on the validation set
  test       evaluate a checkpoint on the test set
  predict    run a checkpoint on the prediction set
  compare    train with several selectors and seeds at equal optimiser steps, and tabulate:
             dynsel compare --config recipes/digits.yaml --selectors full random rrd --seeds 3 --out runs/digits
  findings   what a training found out about its data: wrong labels, duplicates, rare and hard samples:
             dynsel findings last.ckpt --config recipes/digits.yaml --out findings
  select     choose a subset once, from features alone:
             dynsel select --keep_ratio 0.1 --features x.npz:KEY --labels x.npz:KEY --out subset.json
  distill    synthesise a few images per class that train as the whole set does, and evaluate them:
             dynsel distill fit --config recipes/digits_ncfm.yaml
  features   extract the features of a data set once, for all later runs; check and picture them:
             dynsel features extract --data photos/ --extractor open-clip --out clip.npy
  sae        what the features are made of: fit a sparse autoencoder to them, and look at it:
             dynsel sae fit --features clip.npy --out sae.safetensors --plot
  recipes    the YAML files that come with dynsel: dynsel recipes list

options:
  -h, --help    this text, or after a command its most used options
  --help_all    after a command: all of its options
  --version     version number
  --print_completion SHELL
                what bash, zsh or tcsh needs to complete a command line; needs shtab

A YAML file has the keys model, data, trainer and selection; any of it can be overridden on the command line, as in
`--selection.selector random --trainer.max_epochs 5`. `--config dynsel:digits` takes a recipe by its name.
DYNSEL_DEBUG=1 shows errors with traceback.
""",
    "fit": _TRAIN.format(
        command="fit",
        does="Train a LightningModule, in every epoch on another selection of the training set.",
        checkpoint="go on from; `last` finds the newest one",
        example=" --selection.keep_ratio 0.3",
    ),
    "validate": _TRAIN.format(
        command="validate",
        does="Evaluate a checkpoint on the validation set.",
        checkpoint="evaluate",
        example=" --ckpt_path last.ckpt",
    ),
    "test": _TRAIN.format(
        command="test",
        does="Evaluate a checkpoint on the test set.",
        checkpoint="evaluate",
        example=" --ckpt_path last.ckpt",
    ),
    "predict": _TRAIN.format(
        command="predict",
        does="Run a checkpoint on the prediction set.",
        checkpoint="run",
        example=" --ckpt_path last.ckpt",
    ),
    "compare": """\
usage: dynsel compare --config FILE --out FOLDER [options]

Train with several selectors and seeds at equal cost, and tabulate.

  --config FILE         YAML file with the keys model, data, trainer and selection; may be repeated
  --out FOLDER          where the runs, table.md, results.csv, report.html and pictures go
  --selectors SPEC ...  who chooses, as in full random rrd:k=8,gamma=0.5 (default: full random rrd)
  --seeds N             number of seeds, from seed_everything on (default: 3)
  --keep_ratio R        share of the training set that a selection holds, in (0, 1]
  --evaluations N       validations in the course of a training, for its curve (default: 12)
  --exclude FILE        samples to leave out, as the suspects.csv of `dynsel findings`
  --metric NAME         validation metric to compare by (default: val_accuracy)
  --equal WHAT          what is equal for all: optimiser steps (default), samples trained on, or
                        seconds of training and selection
  --target VALUE        tell how soon each selector reaches this value of the metric and holds it
  --worth               also train full data for 0.4 to 1.4 times as long, and say which length each
                        result is worth
  --energy              measure joules, where a counter can be read; needs zeus
  --beside FOLDER ...   finished comparisons with other settings, as many steps and the same data,
                        for the same tables
  --help_all            these options as the parser lists them

Any other option overrides the configuration, as in --model.init_args.lr 0.05; the share of the
full training's steps is `selection.budget`, 1 unless given.

Every run takes the optimiser steps that the full data set takes in the configured training, starts
from the weights that its seed gives, and is evaluated after its last step. Finished runs are kept
in --out: a stopped comparison goes on where it was, and seeds or selectors can be added later. The
same command in several processes shares the runs. With --equal seconds or samples the runs at equal
steps come first and say how many steps each selector gets; their results go to a folder of that
name in --out.

example: dynsel compare --config recipes/digits.yaml --selectors full random rrd --out runs/digits
""",
    "findings": """\
usage: dynsel findings CHECKPOINT --config FILE [options]

List suspected wrong labels, duplicates, rare and hard samples, samples never learned and never used, from what a
training with DynamicSelection took down; write them as tables and as a page with images or texts.

  CHECKPOINT            checkpoint of the training, such as last.ckpt
  --config FILE         YAML file of the training, whose data are taken; may be repeated
  --data CLASS          instead, or with --data.init_args.ARGUMENT V beside it: data set, data module or folder
  --split NAME          of a data module: train (default), val, test or predict
  --out FOLDER          where findings.html, findings.csv, suspects.csv go, and findings.parquet where pandas and
                        pyarrow are installed (default: findings)
  --features SOURCE     features for duplicates and rare samples: pixels, or a file: store, .npy, or .npz:KEY
  --table FILE          CSV file with a row per sample, in order: label, path, text
  --export NAMES        files for other tools, of cleanlab,fiftyone,label-studio
  --limit N             samples of each kind that the page shows (default: 60)
  --help_all            all options, with types and defaults

suspects.csv lists the suspected labels, the most suspicious first. Look at them on the page, delete the rows that are
right, and give the file to the next `dynsel fit` or `dynsel compare` as what it is to leave out. The command says how.
""",
    "select": """\
usage: dynsel select --features FILE --keep_ratio R --out FILE [options]

Choose a subset once, before training, from features alone, and write it as JSON.

  --features FILE    (N, d) array: feature store, .npy, or .npz:KEY
  --keep_ratio R     share of the samples to keep, in (0, 1]
  --out FILE         manifest to write, ending in .json
  --labels FILE      (N,) labels, .npy or .npz:KEY; each class is then kept in its share
  --selector SPEC    who chooses, as in fast:dim=32, k-center or herding (default: fast)
  --seed N           seed of all draws (default: 0)
  --help_all         all options, with types and defaults

The manifest holds the chosen indices (ascending) and how they came about; train on them with
torch.utils.data.Subset(dataset, json.load(open("subset.json"))["indices"]). Its report says how far the subset is from
the whole set by characteristic functions of the features, beside class-balanced random subsets of the same size.
""",
    "distill": """\
usage: dynsel distill <command> [options]

Make a few synthetic images per class that train a network as the whole data set does (NCFM, arXiv:2502.20653).

commands:
  fit        train the pool of networks if need be, then the images; writes them, a manifest and pictures:
             dynsel distill fit --config recipes/digits_ncfm.yaml --distill.images_per_class 1
  evaluate   train fresh networks on the result, on random real images and on herding's, and tabulate:
             dynsel distill evaluate --config recipes/digits_ncfm.yaml --distill.images_per_class 1
  export     write the images of a checkpoint: dynsel distill export --ckpt_path last.ckpt --out folder
  measure    how far a selection is from the whole set at learned frequencies (NCFD):
             dynsel distill measure --features x.npz:KEY --selection subset.json

`dynsel distill fit --help` and so on list the options. An interrupted fit goes on with `--ckpt_path last`.
""",
    "distill fit": """\
usage: dynsel distill fit --config FILE [options]

Train the pool of networks if need be, then the synthetic images; write them, a manifest and pictures.

most used options, each of which is a key of the YAML file as well:
  --config FILE                     YAML file with the keys below
  --out FOLDER                      where the images, the pictures and the checkpoints go
  --data CLASS                      class path of a data module, as in dynsel.data.CIFAR10DataModule
  --distill.images_per_class N      number of synthetic images per class
  --distill.factor N                an image is a mosaic of factor x factor small ones
  --pool.folder FOLDER              where the networks are kept; they serve all later distillations of the same data
  --pool.networks N                 number of networks
  --trainer.max_steps N             length of the training; the paper takes 20000
  --trainer.accelerator NAME        and all else that Lightning's Trainer takes
  --ckpt_path last                  go on after an interruption; or from any checkpoint
  --sheet_every N                   steps between two pictures
  --threads N                       CPU threads of torch
  --help_all                        all options, with types and defaults (takes seconds)
""",
    "distill evaluate": """\
usage: dynsel distill evaluate --config FILE [options]

Train fresh networks on the distilled set, on random real images and on herding's choice, as many of each, and tabulate.

most used options, each of which is a key of the YAML file as well; the file may be that of `dynsel distill fit`:
  --config FILE                     YAML file with the keys below
  --out FOLDER                      folder that `dynsel distill fit` wrote to; the tables go there as well
  --data CLASS                      class path of the data module that the set was made from
  --evaluation.networks NAMES       architectures to train
  --evaluation.repeats N            networks of each architecture
  --evaluation.epochs N             epochs of their training
  --threads N                       CPU threads of torch
  --help_all                        all options, with types and defaults (takes seconds)
""",
    "distill export": """\
usage: dynsel distill export --ckpt_path FILE --out FOLDER

Write the images of a checkpoint of `dynsel distill fit`.

  --ckpt_path FILE    the checkpoint
  --out FOLDER        folder to write to
""",
    "distill measure": """\
usage: dynsel distill measure --features FILE --selection FILE [options]

Report how far a selection is from the whole set, at frequencies learned on half of the samples (NCFD).

  --features FILE          (N, d) array: feature store, .npy, or .npz:KEY
  --selection FILE         manifest of `dynsel select`, or a JSON list of indices
  --labels FILE            (N,) labels, .npy or .npz:KEY: report every class as well
  --out FILE               JSON file to write
  --mode MODE              scale-mixture (default), or normal: Gaussian frequencies, nothing is learned
  --steps N                steps of the frequency network
  --seed N                 seed of halves, network and random subsets
  --help_all               all options, with types and defaults
""",
    "features": """\
usage: dynsel features <command> [options]

Features of a data set, extracted once and reused by later runs.

commands:
  extract    write a store; interrupted, the same command goes on:
             dynsel features extract --data photos/ --extractor open-clip --extractor.model ViT-B-32 --out clip.npy
  info       what a store holds:            dynsel features info clip.npy
  verify     check every block of a store:  dynsel features verify clip.npy
  atlas      pictures of what the features find in the images:
             dynsel features atlas --features clip.npy --data photos/ --out atlas/

`dynsel features extract --help` and so on list the options. A store is a .npy file with its manifest, x.npy.json;
use it by `--selection.features x.npy` or `features="x.npy"`.
""",
    "features extract": """\
usage: dynsel features extract --data DATA --extractor NAME --out FILE [options]

Write the features of every item of a data set into a store. Interrupted, the same command goes on.

  --data DATA          folder of class folders, or the class path of a data set or LightningDataModule with its
                       arguments: --data dynsel.data.CIFAR10DataModule --data.root data/cifar10
  --split NAME         of a data module: train (default), val, test or predict
  --extractor NAME     minilm, module, open-clip, pixels, text, torchvision, or the class path of your own; with its
                       arguments: --extractor.model resnet18
  --out FILE           store to write, ending in .npy
  --batch_size N       items at a time
  --num_workers N      processes that read and prepare items
  --dtype TYPE         float16 (default) or float32
  --skip_unreadable    zeros for items that can't be read, instead of an error
  --accelerator NAME, --devices N, --num_nodes N, --strategy NAME, --precision P
                       as Lightning's Trainer takes them
  --threads N          CPU threads of torch
  --config FILE        all of it as a YAML file
  --help_all           all options, with types and defaults (takes seconds)
  --extractor.help torchvision
                       arguments of an extractor

Training data need to come without random augmentation.
""",
    "features info": """\
usage: dynsel features info STORE

Say what a feature store holds. STORE is a .npy file, its manifest, or a folder that holds one.
""",
    "features verify": """\
usage: dynsel features verify STORE [options]

Check every block of a store and, if there is data, that the store is of it. STORE is a .npy file, its manifest, or a
folder that holds one.

  --data DATA      folder of class folders, or the class path of a data set or LightningDataModule with its arguments
  --split NAME     of a data module: train (default), val, test or predict
  --config FILE    YAML file with the data
  --help_all       all options, with types and defaults (takes seconds)
""",
    "features atlas": """\
usage: dynsel features atlas --features FILE --data DATA --out FOLDER [options]

Pictures of what the features find in the images: the factors by the images that activate them most (factors.png), and
a map coloured by class and by usage (map.png).

  --features FILE   feature store, .npy, or .npz:KEY
  --data DATA       folder of class folders, or the class path of a data set or LightningDataModule with its arguments
  --split NAME      of a data module: train (default), val, test or predict
  --out FOLDER      where the pictures go
  --sae FILE        autoencoder of `dynsel sae fit`; without it one is fitted
  --usage FILE      checkpoint (.ckpt), run of `dynsel compare` (.json), or .npy
  --map NAME        tsne (default) or pca
  --points N        samples on the map
  --threads N       CPU threads of torch
  --config FILE     all of it as a YAML file
  --help_all        all options, with types and defaults (takes seconds)
""",
    "sae": """\
usage: dynsel sae <command> [options]

A sparse autoencoder finds the factors that features are made of: each row as a sum of a few of many directions.

commands:
  fit    train one:       dynsel sae fit --features clip.npy --out sae.safetensors --plot
  info   say what it is:  dynsel sae info sae.safetensors

`dynsel sae fit --help` lists the options.
""",
    "sae fit": """\
usage: dynsel sae fit --features FILE --out FILE [options]

Fit a sparse autoencoder to features.

  --features FILE      feature store, .npy, or .npz:KEY
  --out FILE           autoencoder to write, ending in .safetensors; what is known of it goes beside it, as .json
  --codes FILE         write the sparse codes too, ending in .json
  --plot               draw how often the factors occur, beside --out
  --num_factors M      number of factors (default: 8 d, at most 4,096)
  --k K                active factors per row
  --epochs N           passes over the rows
  --batch_size N       rows per step
  --lr LR              learning rate
  --seed N             seed of the first directions and of the order
  --device NAME        auto, cpu, cuda, ...
  --devices N, --num_nodes N, --precision P
                       processes that share every batch, and precision, as Lightning's Trainer takes them
  --threads N          CPU threads of torch
  --help_all           all options, with types and defaults
""",
    "sae info": """\
usage: dynsel sae info FILE

Say what an autoencoder is and how it was made. FILE ends in .safetensors.
""",
    "recipes": """\
usage: dynsel recipes <command>

The YAML files that come with dynsel. Any command takes one by its name: dynsel fit --config dynsel:digits

commands:
  list   name them all:                       dynsel recipes list
  copy   copy them into a folder, to change:  dynsel recipes copy my-recipes
""",
    "recipes list": """\
usage: dynsel recipes list

Name the recipes, with a line on each.
""",
    "recipes copy": """\
usage: dynsel recipes copy FOLDER [options]

Copy all recipes into a folder, to change them.

  --force    overwrite files that are there already
""",
}
