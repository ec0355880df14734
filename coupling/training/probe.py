"""What is measured during training: coupling and trajectories on fixed prompts, compared with the initial model."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from coupling.calibrated import POOLED, WHOLE
from coupling.choices import CALIBRATED, CHANCE, NORMS, SD
from coupling.errors import CouplingError
from coupling.linalg.pairwise import FactoredJacobian, compare, factor
from coupling.metrics import excess, expodistance, line_shape_score
from coupling.models.blocks import find_blocks
from coupling.models.recording import Recording, record_blocks
from coupling.models.tokenization import split_inputs
from coupling.plan import resolve_tokens
from coupling.rl.p3o import WITHOUT_FLOAT64
from coupling.settings import Settings
from coupling.shares import K, key_of, normalize_k, resolve_ks
from coupling.training.initial_frames import Frames, read_frames, write_frames

Probes = Sequence[str] | Any


class Probe:
    """Fixed prompts on which models are measured; the first model is what later ones are compared with.

    Args:
        prompts: texts, or token ids as ``coupling.measure`` takes them.
        k: numbers of top singular vectors, or shares of the width such as "10%".
        token: the token measured in each prompt.
        block_list: name of the list of residual blocks, where it cannot be found.
        seed: seed of every random draw.

    Attributes:
        initial: the singular frames of the first model, for each prompt and block; None before the first measurement.
    """

    def __init__(
        self,
        prompts: Probes,
        *,
        k: K | Sequence[K] = (10,),
        token: int | Literal["last"] = "last",
        block_list: str | None = None,
        seed: int = 0,
    ) -> None:
        self.prompts, self.block_list = prompts, block_list
        self.token: int | Literal["last"] = token
        self.settings = Settings(k=normalize_k(k), tokens=token, seed=seed)
        self.initial: Frames | None = None

    def measure(self, model: nn.Module, tokenizer: Any = None) -> dict[str, float]:
        """Measure a model; see ``coupling.training.callback.CouplingCallback`` for the names.

        Args:
            model: a model that ``coupling.measure`` can measure; it is not changed.
            tokenizer: for prompts that are texts.

        Raises:
            CouplingError: if the model or a prompt cannot be measured.
        """
        if next(model.parameters()).device.type in WITHOUT_FLOAT64:
            model = copy.deepcopy(model).cpu()
        _, modules = find_blocks(model, self.block_list)
        recordings = [record_blocks(model, modules, inputs) for inputs in self._inputs(model, tokenizer)]
        factored = [self._factor_blocks(recording) for recording in recordings]
        per_prompt = [self._depth_metrics(jacobians) for jacobians in factored]
        if self.initial is None:
            self.initial = [[_without_operator(jacobian) for jacobian in jacobians] for jacobians in factored]
        if _fits(self.initial, factored):
            for metrics, now, initial in zip(per_prompt, factored, self.initial, strict=True):
                metrics |= self._mismatch_to(initial, now)
        means = {name: float(np.mean([metrics[name] for metrics in per_prompt])) for name in per_prompt[0]}
        for k in self.settings.k:  # of the energy that all pairs and prompts capture
            means[f"coupling/{POOLED}_k{key_of(k)}"] /= means[f"coupling/{WHOLE}_k{key_of(k)}"]
        return means | _trajectory_metrics(recordings)

    def save_initial(self, folder: Path) -> None:
        """Write the frames of the first model into a folder, if there are any."""
        if self.initial is not None:
            write_frames(self.initial, folder, self._identity())

    def load_initial(self, folder: Path) -> bool:
        """Take the frames of the first model from a folder, if they are there and belong to this probe.

        Returns:
            Whether they were there and belong to this probe.
        """
        frames = read_frames(folder, self._identity())
        self.initial = frames if frames is not None else self.initial
        return frames is not None

    def _identity(self) -> dict[str, Any]:
        """What must be equal for two models' frames to be comparable."""
        prompts: Any = self.prompts
        if not isinstance(prompts, str) and not _are_texts(prompts):
            prompts = [inputs["input_ids"].tolist() for inputs in split_inputs(prompts) if "input_ids" in inputs]
        return {"prompts": prompts, "k": self._identity_k(), "token": self.token}

    def _identity_k(self) -> K | tuple[K, ...]:
        """The K that decides how many vectors the frames have: the largest number, with the shares if there are any."""
        shares = [k for k in self.settings.k if isinstance(k, str)]
        numbers = [k for k in self.settings.k if not isinstance(k, str)]
        return (*numbers[-1:], *shares[-1:]) if shares else numbers[-1]

    def _inputs(self, model: nn.Module, tokenizer: Any) -> list[dict[str, Any]]:
        """Forward-pass arguments of each probe prompt, on the model's device."""
        prompts = [self.prompts] if isinstance(self.prompts, str) else self.prompts
        if _are_texts(prompts):
            if tokenizer is None:
                raise CouplingError("the probe prompts are texts, but the trainer has no tokenizer; give token ids")
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor has a tokenizer
            prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in prompts]
        device = next(model.parameters()).device
        return [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in inputs.items()}
            for inputs in split_inputs(prompts)
        ]

    def _factor_blocks(self, recording: Recording) -> list[FactoredJacobian]:
        """The Jacobian J^l_tt of every block l at one prompt's token t, with its top singular triplets."""
        n_virtual = recording.n_virtual
        k = resolve_ks(self.settings.k, recording.width).largest
        (token,) = resolve_tokens(self.token, recording.n_tokens - n_virtual)  # tokens are counted on the prompt
        return [
            factor(
                recording.jacobian(block, token + n_virtual, token + n_virtual),
                k,
                n_compared=recording.n_blocks,
                engine=self.settings.engine,
                tol=self.settings.tol,
                seed=self.settings.seed,
            )
            for block in range(recording.n_blocks)
        ]

    def _depth_metrics(self, jacobians: list[FactoredJacobian]) -> dict[str, float]:
        """Between the blocks: coupling, chance level and excess for each K and p, calibrated measures for each K."""
        ks = resolve_ks(self.settings.k, jacobians[0].moments.shape[1])
        comparison = compare(jacobians, jacobians, ks.numbers)
        metrics = {}
        for at, label in ks.each_label():
            k = key_of(label)
            if isinstance(label, str):
                metrics[f"coupling/k{k}"] = float(ks.numbers[at])
            for norm_index, p in enumerate(NORMS):
                mismatch = _off_diagonal_mean(comparison["mismatch"][at, norm_index])
                chance = _off_diagonal_mean(comparison["chance"][at, norm_index])
                metrics[f"coupling/score_k{k}_p{p}"] = 1 - mismatch  # coupling = 1 - m
                metrics[f"coupling/chance_k{k}_p{p}"] = 1 - chance
                metrics[f"coupling/excess_k{k}_p{p}"] = float(excess(mismatch, chance))
            for measure in CALIBRATED:
                value, null, sd = (comparison[measure.name + part][at] for part in ("", CHANCE, SD))
                z = (value - null[:, None]) / np.where(sd == 0, np.inf, sd)[:, None]
                weight = comparison[WHOLE][at] if measure.name == POOLED else 1.0
                metrics[f"coupling/{measure.name}_k{k}"] = _off_diagonal_mean(value * weight)
                metrics[f"coupling/{measure.name}_z_k{k}"] = _off_diagonal_mean(z)
        return metrics

    def _mismatch_to(self, initial: list[FactoredJacobian], now: list[FactoredJacobian]) -> dict[str, float]:
        """m(J_now, J_initial) of each block with itself, at the largest K and p = 2, and the mean over blocks."""
        mismatches = [
            float(compare([a], [b], [len(a.triplets.values)])["mismatch"][0, NORMS.index(2), 0, 0])
            for a, b in zip(now, initial, strict=True)
        ]
        by_block = {f"coupling/mismatch_to_initial/block_{block}": m for block, m in enumerate(mismatches)}
        return {"coupling/mismatch_to_initial": float(np.mean(mismatches))} | by_block


def _fits(initial: Frames, now: Frames) -> bool:
    """Whether the initial frames are of a model of the same shape; a warning if not."""
    shapes = [[[item.triplets.left.shape for item in row] for row in rows] for rows in (initial, now)]
    if shapes[0] != shapes[1]:
        warnings.warn("the initial model had another shape, so the mismatch to it is left out", stacklevel=2)
    return shapes[0] == shapes[1]


def _are_texts(prompts: Any) -> bool:
    return isinstance(prompts, (list, tuple)) and len(prompts) > 0 and isinstance(prompts[0], str)


def _trajectory_metrics(recordings: list[Recording]) -> dict[str, float]:
    """Medians over the tokens of all prompts, as ``coupling correlate`` takes them; without learned tokens."""
    trajectories = [recording.trajectory[:, recording.n_virtual :].double().cpu().numpy() for recording in recordings]
    norms = [np.linalg.norm(trajectory, axis=-1) for trajectory in trajectories]
    with np.errstate(invalid="ignore", divide="ignore"):
        of_tokens = {
            "line_shape_score": [line_shape_score(trajectory) for trajectory in trajectories],
            "expodistance": [expodistance(trajectory) for trajectory in trajectories],
            "residual_growth": [norm[-1] / norm[0] for norm in norms],  # ||x^L|| / ||x^0||
        }
    return {f"coupling/{name}": float(np.nanmedian(np.concatenate(values))) for name, values in of_tokens.items()}


def _off_diagonal_mean(matrix: np.ndarray) -> float:
    """The mean over ordered pairs of distinct blocks."""
    if len(matrix) < 2:
        raise CouplingError("coupling across depth needs at least two blocks, and this model has one")
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


def _without_operator(jacobian: FactoredJacobian) -> FactoredJacobian:
    """A Jacobian's singular frames alone: what others are compared with, without the model that it came from."""
    return FactoredJacobian(None, jacobian.triplets, jacobian.moments)
