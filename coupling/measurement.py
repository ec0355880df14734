"""Measure a model in memory: recordings, Jacobians, singular triplets and comparisons become one Dataset."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from coupling.baselines import add_jacobian_baselines, add_stream_baselines
from coupling.dataset import assemble
from coupling.detail import DetailBudget, detail_bytes
from coupling.errors import CouplingWarning
from coupling.factory import Factory, compared, kept_of, make_ahead
from coupling.linalg.pairwise import Frames, compare
from coupling.models.recording import Recording
from coupling.plan import Group, Key, Plan
from coupling.resources import DEFAULT_RESOURCES, Resources, bytes_text, is_out_of_memory, release_memory
from coupling.settings import Settings
from coupling.side_by_side import make_side_by_side

BATCH = "batch"
"""The variable that says with how many prompts a prompt was measured."""
Progress = Callable[[int, int], None]
"""Called with (Jacobians done, Jacobians in total)."""


def measure_recording(
    recording: Recording,
    settings: Settings,
    progress: Progress | None = None,
    budget: DetailBudget | None = None,
    *,
    baselines: bool = False,
    resources: Resources = DEFAULT_RESOURCES,
    batch: int = 1,
) -> xr.Dataset:
    """Measure one recorded prompt.

    Args:
        recording: the prompt's forward pass.
        settings: what is measured.
        progress: see ``Progress``.
        budget: decides whether the prompt keeps its projections and residual stream; None: it does not.
        baselines: also measure what coupling is compared with, of the residual stream and of the Jacobians.
        resources: the memory that may be used; where it runs out, half of it is tried.
        batch: the number of prompts that are measured together.

    Returns:
        A Dataset without the prompt axis, over all tokens of the prompt.

    Raises:
        CouplingError: if a setting does not fit the prompt or the model, or a Jacobian is not finite.
    """
    plan = plan_of(recording, settings)
    detailed = budget is not None and budget.admits(
        detail_bytes(plan, recording.n_tokens - recording.n_virtual, recording.width)
    )
    while True:
        try:
            return measure_together(
                [recording], settings, [detailed], progress, baselines=baselines, resources=resources, batch=batch
            )[0]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        resources = with_less_memory(resources)


def with_less_memory(resources: Resources) -> Resources:
    """Half the memory, after it ran out; a warning states the budget that is tried now.

    Raises:
        CouplingError: if that is too little.
    """
    release_memory()
    less = resources.halved()
    warnings.warn(
        f"out of memory; going on with `memory_budget='{bytes_text(less.memory_budget)}'`",
        CouplingWarning,
        stacklevel=3,
    )
    return less


def plan_of(recording: Recording, settings: Settings) -> Plan:
    """What is measured of a recorded prompt; tokens are counted on the prompt.

    Raises:
        CouplingError: if a setting does not fit the prompt or the model.
    """
    n_tokens = recording.n_tokens - recording.n_virtual
    return Plan.of(settings, n_tokens=n_tokens, blocks=recording.numbers, width=recording.width)


def measure_together(
    recordings: Sequence[Recording],
    settings: Settings,
    detailed: Sequence[bool],
    progress: Progress | None = None,
    *,
    baselines: bool = False,
    resources: Resources = DEFAULT_RESOURCES,
    batch: int | None = None,
) -> list[xr.Dataset]:
    """Measure recorded prompts of equal length: their Jacobians are made in common passes where that is right.

    Args:
        recordings: the prompts' forward passes.
        settings: what is measured.
        detailed: which prompts keep their projections and residual stream.
        progress: called with (Jacobians done, Jacobians in total) of all of them.
        baselines: see ``measure_recording``.
        resources: the memory that may be used.
        batch: the number of prompts of the batch that these are of; default: as many as there are.

    Returns:
        As ``measure_recording``, one for each prompt.

    Raises:
        CouplingError: if a setting does not fit the prompts or the model, or a Jacobian is not finite.
    """
    plan = plan_of(recordings[0], settings)
    factories = [Factory(recording, plan, settings, resources, baselines=baselines) for recording in recordings]
    results: list[list[dict[str, Any]]] = [[] for _ in recordings]
    done, total = 0, plan.jacobian_count() * len(recordings)

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None and count:
            progress(done, total)

    for window in _windows(plan, len(recordings), recordings[0], resources):
        for count in make_ahead(factories, window):
            report(count)
        counts = compared(window)
        for factory in factories:
            for count in make_side_by_side(factory, kept_of(factory, counts)):
                report(count)
        for factory, found, is_detailed in zip(factories, results, detailed, strict=True):
            for group in window:
                sides = []
                for keys in (group.a,) if group.a == group.b else (group.a, group.b):
                    side = []
                    for key in keys:
                        is_new = key not in factory.ready
                        side.append(factory(key, n_compared=len(keys)))
                        report(is_new)
                    sides.append(side)
                a, b = sides[0], sides[-1]
                again = None
                if any(item.operator is None for item in a):
                    again = factory.projected(group.a, Frames.of(b))
                found.append(compare(a, b, plan.ks.numbers, projections=is_detailed, projected=again))
            factory.ready.clear()
    if done < total:
        report(total - done)  # Jacobians that several comparisons had in common
    parts: list[xr.Dataset] = []
    for factory, found, is_detailed in zip(factories, results, detailed, strict=True):
        like = parts[0] if parts and not baselines else None  # baselines may have coordinates of their own
        parts.append(_assembled(factory, found, detailed=is_detailed, batch=batch or len(recordings), like=like))
    return parts


def _windows(plan: Plan, prompts: int, recording: Recording, resources: Resources) -> Iterator[list[Group]]:
    """Comparisons whose Jacobians fit the memory, so that they can be made together; at least one at a time."""
    size = prompts * recording.width**2 * recording.trajectory.dtype.itemsize
    window: list[Group] = []
    kept = 0
    for group in plan.groups():
        needed = size * len(group.made)
        if window and kept + needed > resources.kept_bytes:
            yield window
            window, kept = [], 0
        window.append(group)
        kept += needed
    yield window


def _assembled(
    factory: Factory, groups: Sequence[dict[str, Any]], *, detailed: bool, batch: int, like: xr.Dataset | None
) -> xr.Dataset:
    """The Dataset of one prompt, from its comparisons; with the coordinates of another prompt's, where one is given."""
    recording, plan = factory.recording, factory.plan
    trajectory = as_array(recording.trajectory[:, recording.n_virtual :])
    others = factory.made.variables(plan) | {BATCH: ((), batch)}
    dataset = assemble(groups, plan, trajectory, detailed=detailed, others=others, like=like)
    dataset.attrs |= factory.made.attributes
    if factory.baselines:
        add_stream_baselines(dataset, trajectory.astype(np.float64))
        if plan.kind == "depth" and not plan.has_token_axis:
            add_jacobian_baselines(dataset, [factory.properties[key] for key in sorted(factory.properties, key=_place)])
    if recording.n_virtual:
        dataset.attrs["virtual_tokens"] = recording.n_virtual
    return dataset


def as_array(trajectory: Float[Tensor, "layers n d"]) -> Float[np.ndarray, "layers n d"]:
    """The residual stream in its own precision, or float32 where NumPy has no such type."""
    wide = trajectory.dtype in (torch.float32, torch.float64)
    return (trajectory if wide else trajectory.float()).cpu().numpy()


def _place(key: Key) -> tuple[int, int, int]:
    return key.block, key.token, key.output_token
