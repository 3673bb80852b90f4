"""Dynamic per-epoch data selection for PyTorch Lightning.

features → scores → selection → sampler → training → feedback → scores
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dynsel._lib.provenance import package_version

if TYPE_CHECKING:
    from dynsel.callbacks import DynamicSelection
    from dynsel.samplers import SelectionController, SelectionSampler
    from dynsel.selection import Selection

# Without links (a clone on Windows, a zip, a source distribution) callbacks and samplers are one folder up.
if not Path(__file__).with_name("callbacks").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

__version__ = package_version("dynsel")

__all__ = ["DynamicSelection", "Selection", "SelectionController", "SelectionSampler", "__version__"]


def __getattr__(name: str) -> object:
    # Lightning and torch take seconds to import; whoever only asks for the version shouldn't wait for them.
    if name == "DynamicSelection":
        from dynsel.callbacks import DynamicSelection

        return DynamicSelection
    if name in ("SelectionController", "SelectionSampler"):
        import dynsel.samplers

        return getattr(dynsel.samplers, name)
    if name == "Selection":
        from dynsel.selection import Selection

        return Selection
    raise AttributeError(f"module 'dynsel' has no attribute {name!r}")
