"""Which model, seed and training step a run belongs to, by the names of its model, its revision and its folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupling.analyses.sweep.steps import PATTERNS, step_of
from coupling.errors import CouplingError, first_line
from coupling.untrusted import quoted

SEED = re.compile(r"[-_@]?(?<![a-z])seed[-_=]?(\d+)", re.IGNORECASE)
_EDGES = "-_@/. "
"""What is left over at the ends of a name without its step or its seed."""


@dataclass(frozen=True)
class Place:
    """The place of a run in a study of training.

    Attributes:
        model: the name that all seeds and steps of a model share.
        seed: the number of the seed; 0 where the names contain none.
        step: the training step.
    """

    model: str
    seed: int
    step: int

    @property
    def training(self) -> str:
        """The name of one training run: the model and its seed."""
        return f"{self.model}, seed {self.seed}"


def place_of(attributes: dict[str, Any], folder: str | Path, step_pattern: str | None = None) -> Place:
    """The place of a run.

    The step is looked for in the revision, then in the last part of the model's name, then in the name of the run's
    folder; an untrained model (``--random-weights``) is step 0. The seed is looked for in the same names. The model is
    the hub id, or the folder that the checkpoints lie in, without seed and step.

    Args:
        attributes: the run's attributes; ``model``, ``revision`` and ``weights`` are read.
        folder: the run's folder.
        step_pattern: a regular expression whose first group is the step; default: the usual names (``step1000``,
            ``checkpoint-1000``, ``global_step1000``, ``iter_0001000``, ``epoch_3``).

    Raises:
        CouplingError: if no name contains a step, or the expression is not valid.

    Example:
        >>> place_of({"model": "EleutherAI/pythia-160m-seed3", "revision": "step1000"}, "runs/a")
        Place(model='EleutherAI/pythia-160m', seed=3, step=1000)
        >>> place_of({"model": "models/small-seed1/checkpoint-64"}, "runs/a").training
        'small, seed 1'
    """
    _check_pattern(step_pattern)
    model, revision = str(attributes.get("model") or ""), str(attributes.get("revision") or "")
    own, parent, run = Path(model).name, Path(model).parent.name, Path(folder).resolve().name
    # Each name in which a step is looked for, the name that the model then has without the step, and its replacement
    # where nothing else is in it.
    sources = ((revision, model, model), (own, own, parent), (run, run, model))
    step, name, otherwise = next(
        ((found, name, other) for text, name, other in sources if (found := step_of(text, step_pattern)) is not None),
        (None, model, model),
    )
    if attributes.get("weights") == "random":
        step = 0
    if step is None:
        raise CouplingError(
            f"no training step is in the names of the run {folder} (revision {revision or 'none'}, model "
            f"{model or 'unknown'}, folder {run}); `step_pattern` is a regular expression whose first group is the step"
        )
    name = _without_step(name, step_pattern) or otherwise or run
    seeds = [match for text in (name, revision, parent, run) if (match := SEED.search(text))]
    shared = SEED.sub("", name).strip(_EDGES) or SEED.sub("", run).strip(_EDGES) or "model"
    return Place(shared, int(seeds[0][1]) if seeds else 0, step)


def _without_step(name: str, step_pattern: str | None) -> str:
    """A name without its step; a hub id, which contains none, stays as it is."""
    expressions = [step_pattern] if step_pattern is not None else [rf"(?<![a-z]){pattern}" for pattern in PATTERNS]
    for expression in expressions:
        match = re.search(expression, name, re.IGNORECASE)
        if match is not None:
            return (name[: match.start()] + name[match.end() :]).strip(_EDGES)
    return name


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise CouplingError(
            f"`step_pattern` {quoted(pattern)} is not a regular expression: {first_line(error)}"
        ) from None
    if not groups:
        raise CouplingError(f"`step_pattern` {quoted(pattern)} has no group; put the step's digits in brackets: (\\d+)")
