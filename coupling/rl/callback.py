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
from coupling.errors import CouplingError
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

    Use it as ``CouplingCallback(prompts, every=50).attach(trainer)``: attached, it writes into the trainer's own logs
    (``state.log_history`` and every tracker). Training is bit for bit the same with it and without.

    Logs, for each K and p: ``coupling/score_k{K}_p{p}``, ``coupling/chance_k{K}_p{p}``, ``coupling/excess_k{K}_p{p}``;
    against the policy at the first measurement, at the largest K and p = 2: ``coupling/mismatch_to_initial`` (mean) and
    ``coupling/mismatch_to_initial/block_{l}``: m(J_now, J_initial), the present Jacobian in the initial one's frames.

    Args:
        prompts: texts (tokenized by the trainer's tokenizer), or token ids as ``coupling.measure`` takes them.
        every: steps between measurements; the first is before the first step, one more is after the last. Where
            training is resumed from a checkpoint the mismatch to the initial policy is left out, unless ``measure``
            saw the initial policy before.
        k: numbers of top singular vectors.
        token: token measured in each prompt.
        blocks: name of the list of blocks, where it cannot be found.
        seed: of every random draw of the measurement.

    Raises:
        CouplingError: if a setting is wrong; when training begins, if the model or a prompt cannot be measured. A
            later measurement that fails is a warning.
    """

    def __init__(
        self, prompts: Probes, *, every: int = 100, k: int | Sequence[int] = (10,), token: int | Literal["last"] = "last",
        blocks: str | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if every < 1:
            raise CouplingError(f"every is {every}, but must be at least 1")
        self.prompts, self.every, self.blocks = prompts, every, blocks
        self.token = token
        self.settings = Settings(k=normalize_k(k), tokens=token, seed=seed)
        self.trainer: Trainer | None = None
        self.history: list[dict[str, float]] = []
        self._initial: list[list[FactoredJacobian]] | None = None
        self._measured = -1
        self._resumed = False

    def attach(self, trainer: Trainer) -> "CouplingCallback":
        """Add this callback to a trainer, and write into its logs."""
        self.trainer = trainer
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the initial policy; one that was resumed is not the initial one."""
        self._resumed = state.global_step > 0 and self._initial is None
        if state.global_step == 0 or self._resumed or state.global_step % self.every == 0:
            self._probe(state, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure every N steps."""
        if state.global_step % self.every == 0:
            due = control.should_log  # any log answers for it, and the trainer's own is still to come
            self._probe(state, **kwargs)
            control.should_log = due

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the final policy."""
        self._probe(state, **kwargs)

    def _probe(self, state: Any, **kwargs: Any) -> None:
        if self._measured == state.global_step or not state.is_world_process_zero:
            return
        self._measured = state.global_step
        model = kwargs["model"]
        if self.trainer is not None:
            model = self.trainer.accelerator.unwrap_model(model)
        devices = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
        try:
            with torch.random.fork_rng(devices=devices):  # training goes on with the numbers that it would have drawn
                metrics = self.measure(model, kwargs.get("processing_class"))
        except CouplingError as error:
            if not self.history:
                raise
            warnings.warn(f"step {state.global_step}: coupling is not measured: {error}", stacklevel=2)
            return  # what became of the model is the training's own to say
        if self._resumed:
            metrics = {name: value for name, value in metrics.items() if "to_initial" not in name}
        self.history.append({"step": state.global_step} | metrics)
        if self.trainer is not None:
            Trainer.log(self.trainer, dict(metrics))  # the base class's: TRL's would clear what it is averaging
        else:
            state.log_history.append(metrics | {"step": state.global_step})

    def measure(self, model: nn.Module, tokenizer: Any = None) -> dict[str, float]:
        """Measure a model now; the first call's is what later ones are compared with.

        Returns:
            Metric names -> means over the probe prompts.

        Raises:
            CouplingError: if the model or a prompt cannot be measured.
        """
        if next(model.parameters()).device.type in WITHOUT_FLOAT64:
            model = copy.deepcopy(model).cpu()
        _, modules = find_blocks(model, self.blocks)
        parts, factored = [], []
        for inputs in self._inputs(model, tokenizer):
            recording = record_blocks(model, modules, inputs)
            (token,) = resolve_tokens(self.token, recording.n_tokens)
            depth = recording.n_blocks
            jacobians = [
                factor(
                    recording.jacobian(block, token, token),
                    self.settings.k[-1],
                    n_compared=depth,
                    engine=self.settings.engine,
                    tol=self.settings.tol,
                    seed=self.settings.seed,
                )
                for block in range(depth)
            ]
            parts.append(self._scores(compare(jacobians, jacobians, self.settings.k)))
            factored.append(jacobians)
        if self._initial is None:
            self._initial = [[_without_operator(item) for item in prompt] for prompt in factored]
        for part, now, then in zip(parts, factored, self._initial, strict=True):
            mismatches = [
                float(compare([a], [b], self.settings.k[-1:])["mismatch"][0, NORMS.index(2), 0, 0])
                for a, b in zip(now, then, strict=True)
            ]
            part["coupling/mismatch_to_initial"] = float(np.mean(mismatches))
            part |= {f"coupling/mismatch_to_initial/block_{block}": m for block, m in enumerate(mismatches)}
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _inputs(self, model: nn.Module, tokenizer: Any) -> list[dict[str, Any]]:
        prompts = self.prompts
        if isinstance(prompts, str):
            prompts = [prompts]
        if isinstance(prompts, (list, tuple)) and prompts and isinstance(prompts[0], str):
            if tokenizer is None:
                raise CouplingError("the probe prompts are text and the trainer has no tokenizer; give token ids")
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
            prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in prompts]
        device = next(model.parameters()).device
        return [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in inputs.items()}
            for inputs in split_inputs(prompts)
        ]

    def _scores(self, compared: dict[str, np.ndarray]) -> dict[str, float]:
        metrics = {}
        for at, k in enumerate(self.settings.k):
            for place, p in enumerate(NORMS):
                m, chance = (_off_diagonal_mean(compared[name][at, place]) for name in ("mismatch", "chance"))
                metrics[f"coupling/score_k{k}_p{p}"] = 1 - m
                metrics[f"coupling/chance_k{k}_p{p}"] = 1 - chance
                metrics[f"coupling/excess_k{k}_p{p}"] = float(excess(m, chance))
        return metrics


def _off_diagonal_mean(matrix: np.ndarray) -> float:
    if len(matrix) < 2:
        raise CouplingError("coupling across depth needs at least two blocks, and this model has one")
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


def _without_operator(item: FactoredJacobian) -> FactoredJacobian:
    """A Jacobian's singular frames alone: what it takes to be compared with, without the model that it came from."""
    return FactoredJacobian(None, item.triplets, item.moments)
