"""Coupling through a training run: a callback for any ``transformers.Trainer``."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from coupling.choices import NORMS
from coupling.errors import CouplingError, renamed
from coupling.linalg.pairwise import FactoredJacobian, compare, factor
from coupling.metrics import excess
from coupling.models.blocks import find_blocks
from coupling.models.recording import record_blocks
from coupling.models.tokenization import split_inputs
from coupling.plan import resolve_tokens
from coupling.rl.p3o import WITHOUT_FLOAT64
from coupling.settings import Settings, normalize_k

Probes = Sequence[str] | Any


class CouplingCallback(TrainerCallback):
    """Every N steps, on fixed probe prompts: coupling, its excess over chance, and mismatch to the initial policy.

    Use it as ``CouplingCallback(prompts, every=50).attach(trainer)``. Attached, it writes into the trainer's own logs
    (``state.log_history`` and every tracker). Training gives bit for bit the same weights with it and without it.

    It logs, for each K and p: ``coupling/score_k{K}_p{p}``, ``coupling/chance_k{K}_p{p}``,
    ``coupling/excess_k{K}_p{p}``. Compared with the policy at the first measurement, at the largest K and p = 2, it
    logs ``coupling/mismatch_to_initial`` (the mean over blocks) and ``coupling/mismatch_to_initial/block_{l}``:
    m(J_now, J_initial), the present Jacobian in the frames of the initial one. All are means over the probe prompts and
    have no unit.

    Args:
        prompts: texts (tokenized by the trainer's tokenizer), or token ids as ``coupling.measure`` takes them.
        every: steps between measurements. The first measurement is before the first step, and there is one more after
            the last step. If training is resumed from a checkpoint, the mismatch to the initial policy is left out,
            unless ``measure`` was called on the initial policy before.
        k: numbers of top singular vectors.
        token: the token measured in each prompt.
        block_list: name of the list of residual blocks, where it cannot be found.
        seed: seed of every random draw of the measurement.
        blocks: the former name of ``block_list``.

    Attributes:
        history: one dictionary per measurement: ``step`` and what was logged.

    Raises:
        CouplingError: if a setting is wrong; when training begins, if the model or a prompt cannot be measured. If a
            later measurement fails, it is a warning.
    """

    def __init__(
        self,
        prompts: Probes,
        *,
        every: int = 100,
        k: int | Sequence[int] = (10,),
        token: int | Literal["last"] = "last",
        block_list: str | None = None,
        seed: int = 0,
        blocks: str | None = None,
    ) -> None:
        if every < 1:
            raise CouplingError(f"`every` is {every}, but must be at least 1")
        self.prompts, self.every = prompts, every
        self.token: int | Literal["last"] = token
        self.block_list = renamed("blocks", blocks, "block_list", block_list)
        self.settings = Settings(k=normalize_k(k), tokens=token, seed=seed)
        self.trainer: Trainer | None = None
        self.history: list[dict[str, float]] = []
        self._initial: list[list[FactoredJacobian]] | None = None
        self._last_step = -1
        self._resumed = False

    def attach(self, trainer: Trainer) -> "CouplingCallback":
        """Add this callback to a trainer, and write into its logs."""
        self.trainer = trainer
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the initial policy, or the one that training is resumed from, which is not the initial one."""
        self._resumed = state.global_step > 0 and self._initial is None
        if state.global_step == 0 or self._resumed or state.global_step % self.every == 0:
            self._measure_step(state, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure every N steps."""
        if state.global_step % self.every == 0:
            # Any log clears should_log, and with it the trainer's own log of this step, which is still to come.
            should_log = control.should_log
            self._measure_step(state, **kwargs)
            control.should_log = should_log

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the final policy."""
        self._measure_step(state, **kwargs)

    def _measure_step(self, state: Any, **kwargs: Any) -> None:
        """Measure and log, on the first process and once per step."""
        if self._last_step == state.global_step or not state.is_world_process_zero:
            return
        self._last_step = state.global_step
        model = kwargs["model"]
        if self.trainer is not None:
            model = self.trainer.accelerator.unwrap_model(model)
        try:
            metrics = self._measure_unnoticed(model, kwargs.get("processing_class"))
        except CouplingError as error:
            if not self.history:
                raise
            # A model that diverges is reported by the training loop; the callback must not stop training.
            warnings.warn(f"step {state.global_step}: coupling is not measured: {error}", stacklevel=2)
            return
        if self._resumed:
            metrics = {name: value for name, value in metrics.items() if "to_initial" not in name}
        self.history.append({"step": state.global_step} | metrics)
        if self.trainer is not None:
            # The base class's log, because TRL's would also write, and then clear, the metrics that it still averages.
            Trainer.log(self.trainer, dict(metrics))
        else:
            state.log_history.append(metrics | {"step": state.global_step})

    def _measure_unnoticed(self, model: nn.Module, tokenizer: Any) -> dict[str, float]:
        """Measure, then restore all random number generators, so that training draws what it would have drawn.

        Nothing else that training reads changes: the measurement does not write to weights or gradients, and restores
        the training mode of every module. That is why training is bit for bit the same with this callback.
        """
        devices = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
        with torch.random.fork_rng(devices=devices):
            return self.measure(model, tokenizer)

    def measure(self, model: nn.Module, tokenizer: Any = None) -> dict[str, float]:
        """Measure a model now; later calls are compared with the model of the first call.

        Args:
            model: a model that ``coupling.measure`` can measure; it is not changed.
            tokenizer: for prompts that are texts.

        Returns:
            Metric names -> means over the probe prompts; no unit.

        Raises:
            CouplingError: if the model or a prompt cannot be measured.
        """
        if next(model.parameters()).device.type in WITHOUT_FLOAT64:
            model = copy.deepcopy(model).cpu()
        _, modules = find_blocks(model, self.block_list)
        factored = [self._factor_blocks(model, modules, inputs) for inputs in self._inputs(model, tokenizer)]
        per_prompt = [self._depth_metrics(jacobians) for jacobians in factored]
        if self._initial is None:
            self._initial = [[_without_operator(jacobian) for jacobian in jacobians] for jacobians in factored]
        for metrics, now, initial in zip(per_prompt, factored, self._initial, strict=True):
            metrics |= self._mismatch_to(initial, now)
        return {name: float(np.mean([metrics[name] for metrics in per_prompt])) for name in per_prompt[0]}

    def _inputs(self, model: nn.Module, tokenizer: Any) -> list[dict[str, Any]]:
        """Forward-pass arguments of each probe prompt, on the model's device."""
        prompts = self.prompts
        if isinstance(prompts, str):
            prompts = [prompts]
        if isinstance(prompts, (list, tuple)) and prompts and isinstance(prompts[0], str):
            if tokenizer is None:
                raise CouplingError("the probe prompts are texts, but the trainer has no tokenizer; give token ids")
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor has a tokenizer
            prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in prompts]
        device = next(model.parameters()).device
        return [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in inputs.items()}
            for inputs in split_inputs(prompts)
        ]

    def _factor_blocks(
        self, model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]
    ) -> list[FactoredJacobian]:
        """The Jacobian J^l_tt of every block l at one prompt's token t, with its top singular triplets."""
        recording = record_blocks(model, modules, inputs)
        (token,) = resolve_tokens(self.token, recording.n_tokens)
        return [
            factor(
                recording.jacobian(block, token, token),
                self.settings.k[-1],
                n_compared=recording.n_blocks,
                engine=self.settings.engine,
                tol=self.settings.tol,
                seed=self.settings.seed,
            )
            for block in range(recording.n_blocks)
        ]

    def _depth_metrics(self, jacobians: list[FactoredJacobian]) -> dict[str, float]:
        """Coupling, its chance level and its excess between the blocks, for each K and p."""
        comparison = compare(jacobians, jacobians, self.settings.k)
        metrics = {}
        for k_index, k in enumerate(self.settings.k):
            for norm_index, p in enumerate(NORMS):
                mismatch = _off_diagonal_mean(comparison["mismatch"][k_index, norm_index])
                chance = _off_diagonal_mean(comparison["chance"][k_index, norm_index])
                metrics[f"coupling/score_k{k}_p{p}"] = 1 - mismatch  # coupling = 1 - m
                metrics[f"coupling/chance_k{k}_p{p}"] = 1 - chance
                metrics[f"coupling/excess_k{k}_p{p}"] = float(excess(mismatch, chance))
        return metrics

    def _mismatch_to(self, initial: list[FactoredJacobian], now: list[FactoredJacobian]) -> dict[str, float]:
        """m(J_now, J_initial) of each block with itself, at the largest K and p = 2, and the mean over blocks."""
        mismatches = [
            float(compare([a], [b], self.settings.k[-1:])["mismatch"][0, NORMS.index(2), 0, 0])
            for a, b in zip(now, initial, strict=True)
        ]
        by_block = {f"coupling/mismatch_to_initial/block_{block}": m for block, m in enumerate(mismatches)}
        return {"coupling/mismatch_to_initial": float(np.mean(mismatches))} | by_block


def _off_diagonal_mean(matrix: np.ndarray) -> float:
    """The mean over ordered pairs of distinct blocks."""
    if len(matrix) < 2:
        raise CouplingError("coupling across depth needs at least two blocks, and this model has one")
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


def _without_operator(jacobian: FactoredJacobian) -> FactoredJacobian:
    """A Jacobian's singular frames alone: what others are compared with, without the model that it came from."""
    return FactoredJacobian(None, jacobian.triplets, jacobian.moments)
