"""Quiet Lightning: its notices repeat for each of hundreds of Trainers and bury what a failing test says. No hurry."""

import logging
import os

from hypothesis import settings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# These models are so small that threads wait for each other: on a busy machine two are 20 times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
# Busy machines take their time, and no test is about speed.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
