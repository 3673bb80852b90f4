"""Quiet Lightning: its notices repeat for each of hundreds of Trainers and bury what a failing test says."""

import logging
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# These models are so small that threads wait for each other: on a busy machine two are 20 times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
