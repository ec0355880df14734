"""How the Datasets of single prompts are joined into a run, and taken out of it again."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from coupling.dataset import DETAIL_VARIABLES, PROMPT_ATTRIBUTES, TOKEN_AXES
from coupling.errors import CouplingError


def join_prompts(datasets: Iterable[xr.Dataset], first: int = 0) -> xr.Dataset:
    """Stack the Datasets of single prompts along ``prompt``.

    Args:
        datasets: one per prompt; of each only the numbers are kept until the last has come.
        first: the number of the first prompt.

    Returns:
        One Dataset; shorter prompts are padded with NaN, and their texts with empty texts.

    Raises:
        CouplingError: if the prompts have different coordinates, such as other blocks.
    """
    joining = _Joining()
    for dataset in datasets:
        joining.add(dataset)
    return joining.result(first)


class _Joining:
    """Prompts that are being joined: lists of arrays, because a Dataset takes far more memory than a few numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.columns: dict[str, _Column] = {}
        self.coordinates: dict[str, Any] = {}
        self.detailed: list[int] = []
        self.attrs: dict[str, Any] = {}
        self.conflicting: set[str] = set()
        self.together: dict[str, set[str]] = {}

    def add(self, dataset: xr.Dataset) -> None:
        names = set(dataset.coords)
        coordinates = {str(name): variable for name, variable in dataset.variables.items() if name in names}
        if self.count == 0:
            self.coordinates = coordinates
            self.together = {name: set() for name in ("engine", "linearization") if name in dataset.attrs}
        for name in self.coordinates.keys() | coordinates.keys():
            ours, theirs = self.coordinates.get(name), coordinates.get(name)
            is_same = ours is not None and theirs is not None and np.array_equal(ours.values, theirs.values)
            if name not in TOKEN_AXES and not is_same:
                raise CouplingError(f"input {self.count} has another {name} than those before it")
        for key, variable in dataset.variables.items():
            if key not in names:
                self.columns.setdefault(str(key), _Column(variable.dims, variable.attrs)).add(variable.values)
        if "residual_stream" in dataset:
            self.detailed.append(self.count)
        for attribute, value in dataset.attrs.items():  # an attribute stays where no two prompts differ in it
            if self.attrs.setdefault(attribute, value) != value:
                self.conflicting.add(attribute)
        for name, parts in self.together.items():
            parts.update(str(dataset.attrs[name]).split("+"))
        self.count += 1

    def result(self, first: int) -> xr.Dataset:
        longest = max(len(array) for array in self.columns["line_shape_score"].arrays)
        coordinates = {
            name: ((name,), np.arange(longest)) if name in TOKEN_AXES else variable
            for name, variable in self.coordinates.items()
        }
        numbers = np.arange(first, first + self.count)
        coordinates["prompt"] = (("prompt",), numbers)
        # What only some prompts have, such as those that an earlier version measured, is left out.
        complete = [name for name, column in self.columns.items() if len(column.arrays) == self.count]
        names = [name for name in complete if name not in DETAIL_VARIABLES]
        if self.detailed:
            coordinates["detailed_prompt"] = (("detailed_prompt",), numbers[self.detailed])
            names += DETAIL_VARIABLES
        variables = {}
        for name in names:
            column = self.columns.pop(name)  # its parts can be freed before the next is stacked
            dim = "detailed_prompt" if name in DETAIL_VARIABLES else "prompt"
            variables[name] = ((dim, *column.dims), column.stacked(longest), column.attrs)
        attrs = {name: value for name, value in self.attrs.items() if name not in self.conflicting}
        return xr.Dataset(
            variables, coordinates, attrs | {name: "+".join(sorted(parts)) for name, parts in self.together.items()}
        )


@dataclass
class _Column:
    """One variable of several prompts."""

    dims: tuple[Any, ...]
    attrs: dict[Any, Any]
    arrays: list[np.ndarray] = field(default_factory=list)

    def add(self, array: np.ndarray) -> None:
        self.arrays.append(array.astype(str) if array.dtype.kind == "O" else array)

    def stacked(self, longest: int) -> np.ndarray:
        """One array with the prompts in front, padded to the longest along the axes of tokens."""
        shape = [
            longest if dim in TOKEN_AXES else size for dim, size in zip(self.dims, self.arrays[0].shape, strict=True)
        ]
        if all(array.shape == tuple(shape) for array in self.arrays):
            return np.stack(self.arrays)
        kind = np.result_type(*{array.dtype for array in self.arrays})
        if kind.kind in "iub":  # an integer or a truth value has no NaN
            kind = np.dtype(float)
        whole = np.full((len(self.arrays), *shape), "" if kind.kind == "U" else np.nan, kind)
        for row, array in zip(whole, self.arrays, strict=True):
            row[tuple(map(slice, array.shape))] = array
        return whole


def split_prompt(run: xr.Dataset, index: int) -> xr.Dataset:
    """One prompt of a run as it was before it was joined with the others: the inverse of ``join_prompts``.

    Args:
        run: a run of one or more prompts.
        index: the position of the prompt.
    """
    part = run.drop_dims("detailed_prompt", errors="ignore").isel(prompt=index, drop=True)
    number = int(run.prompt[index])
    if number in run.get("detailed_prompt", []):
        at = run.detailed_prompt.values.tolist().index(number)
        part = part.assign({name: run[name].isel(detailed_prompt=at, drop=True) for name in DETAIL_VARIABLES})
    length = slice(int(part.n_tokens))
    part = part.isel({axis: length for axis in TOKEN_AXES if axis in part.dims})
    part.attrs = {name: value for name, value in run.attrs.items() if name in PROMPT_ATTRIBUTES}
    return part
