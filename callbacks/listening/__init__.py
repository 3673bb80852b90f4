"""What training computes anyway, overheard without a change to the user's `training_step`."""

from dynsel.callbacks.listening.heard import Heard, Rule
from dynsel.callbacks.listening.listener import Listener, Told

__all__ = ["Heard", "Listener", "Rule", "Told"]
