"""The files of a study's folder, checked as they are read, because they may have been damaged."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from coupling.analyses.rl.checks import has_type
from coupling.analyses.sweep.study import study_from_mapping
from coupling.errors import CouplingError
from coupling.files import load_json
from coupling.untrusted import clean

NONE = type(None)
NUMBER = (int, float)
DRIVER = {"pid": (int,), "host": (str,), "beat": NUMBER, "began": NUMBER, "session": (str,)}
TASK = {
    "name": (str,), "model": (str,), "revision": (str,), "step": (int, NONE), "path": (str,), "on_hub": (bool,),
}  # fmt: skip
PROMPTS = {"texts": (list,), "source": (str,), "conversations": (list, NONE)}
IMAGES = {
    "names": (list,), "several": (bool,), "folder": (str,), "relative": (bool,), "column": (str, NONE),
    "dataset_config": (str, NONE), "split": (str, NONE), "limit": (int, NONE), "source": (str,), "count": (int,),
    "digest": (str,),
}  # fmt: skip
INPUTS = {"prompts": PROMPTS, "images": IMAGES}
"""Keys of ``study.json``, one of which it contains, and what is in them."""
LARGEST = 10**15
"""The largest number that a file may contain: a time in seconds, or a training step."""


def has_fields(content: Any, kinds: Mapping[str, tuple[type, ...]]) -> bool:
    """Whether a value is a mapping with some keys, each of a value of its types; numbers are finite and moderate.

    Example:
        >>> has_fields({"pid": 3, "more": None}, {"pid": (int,)}), has_fields({"pid": "3"}, {"pid": (int,)})
        (True, False)
    """
    if not isinstance(content, dict):
        return False
    for key, types in kinds.items():
        value = content.get(key)
        if key not in content or not has_type(value, *types):
            return False
        if isinstance(value, NUMBER) and not (isfinite(value) and abs(value) <= LARGEST):
            return False
    return True


def read_content(path: Path) -> dict[str, Any]:
    """The content of ``study.json``.

    Args:
        path: the file.

    Raises:
        CouplingError: if it is not what a sweep writes.
    """
    content = load_json(path)
    damaged = CouplingError(f"{clean(path, 300)} is damaged: it is not what coupling sweep writes; remove the folder")
    shape = has_fields(content, {"declared": (list,), "settings": (dict,), "tasks": (list,)})
    present = [key for key in INPUTS if key in content]
    if not shape or len(present) != 1 or not has_fields(content[present[0]], INPUTS[present[0]]):
        raise damaged
    inputs = content[present[0]]
    texts = inputs["texts"] if present == ["prompts"] else inputs["names"]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise damaged
    tasks = content["tasks"]
    if not all(has_fields(task, TASK) and set(task) == set(TASK) and _is_name(task["name"]) for task in tasks):
        raise damaged
    if len({task["name"] for task in tasks}) < len(tasks):
        raise damaged
    try:
        study_from_mapping({"models": "-"} | content["settings"])
    except CouplingError:
        raise damaged from None
    return content


def _is_name(name: str) -> bool:
    """Whether a task's name is that of a file in a folder, and leads nowhere else."""
    return 0 < len(name) < 256 and not set(name) & set("/\\\0") and name not in (".", "..")
