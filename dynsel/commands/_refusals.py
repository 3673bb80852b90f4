"""What jsonargparse refuses in a configuration, in dynsel's words: which name was meant, and which there are."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

from dynsel._lib.messages import suggest, suggest_all

__all__ = ["explained"]

# Keys of the configurations whose arguments are those of one class.
CLASSES = {
    "selection": "dynsel.callbacks.DynamicSelection",
    "trainer": "lightning.pytorch.Trainer",
    "distill": "dynsel.distill.NCFM",
    "pool": "dynsel.distill.Pool",
    "evaluation": "dynsel.distill.Evaluation",
}
TRAINING = ("model", "data", "trainer", "selection", "seed_everything", "threads", "ckpt_path")
_IN_CLASS = re.compile(
    r'(?:Parser key "(?P<key>[^"]+)":.*?)?Problem with given class_path \'(?P<path>[^\']+)\':.*?'
    r"(?:Option|Key) '(?P<name>[^']+)' is not accepted",
    re.DOTALL,
)
_IN_GROUP = re.compile(r"Group '(?P<group>[^']+)' does not accept (?:option|key) '(?P<name>[^']+)'")
# Of `--data`, for which jsonargparse tries every kind of data in turn.
_NO_PATH = re.compile(r'Parser key "(?P<key>data)":.*Expected a dot import path string: (?P<value>\S+)', re.DOTALL)
_AT_TOP = re.compile(
    r"(?:Subcommand '\w+' does not accept (?:option|key) '(?P<one>[^']+)'|Option '(?P<two>[^']+)' is not accepted)"
)


def explained(message: str) -> str | None:
    """What an unknown name is taken for, told with its neighbours; None if the message is about something else.

    Args:
        message: As jsonargparse raises it.
    """
    if found := _NO_PATH.search(message):
        return f"`{found['key']}`: there is no folder and no class path {found['value']!r}"
    if found := _IN_CLASS.search(message):
        where = f"`{found['key']}`: " if found["key"] else ""
        return where + _no_argument(found["path"], found["name"])
    if found := _IN_GROUP.search(message):
        return _no_key(found["group"], found["name"])
    if found := _AT_TOP.search(message):
        key, _, rest = (found["one"] or found["two"]).partition(".")
        return _no_key(key, rest) if key in CLASSES else _no_such_key(key)
    return None


def _no_such_key(key: str) -> str:
    known = [*TRAINING, *(name for name in CLASSES if name not in TRAINING), "out"]
    near = suggest(key, known, others=False) or f"; there are {', '.join(TRAINING)}"
    return f"a configuration has no key {key!r}{near}"


def _no_key(group: str, name: str) -> str:
    path = CLASSES.get(group)
    if path is None:
        return f"`{group}` has no key {name!r}"
    return f"`{group}`: " + _no_argument(path, name)


def _no_argument(path: str, name: str) -> str:
    """What a class has in place of an argument; all of it, for a few words more spare a look into the documentation."""
    module, _, attribute = path.rpartition(".")
    cls = getattr(import_module(module), attribute)
    known = [key for key in _parameters(cls) if key not in ("self", "args", "kwargs")]
    return f"{attribute} has no argument {name!r}{suggest_all(name, known)}"


def _parameters(cls: type) -> list[str]:
    """Arguments of a class, with those that it passes on to its bases by `**kwargs`."""
    names: list[str] = []
    for each in cls.__mro__:
        if "__init__" not in vars(each) or each is object:
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters
        names += [name for name in parameters if name not in names]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names
