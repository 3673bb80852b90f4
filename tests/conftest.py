"""Quiet Lightning: its notices repeat for each of hundreds of Trainers and bury what a failing test says."""

import logging
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
