"""Coupling through a training run: a callback for any ``transformers.Trainer``."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from coupling.errors import CouplingError, renamed
from coupling.shares import K
from coupling.training.overhead import Overhead
from coupling.training.probe import Probe, Probes
from coupling.training.whole_model import gathered, is_sharded, plain_forward, same_random_numbers

Metrics = dict[str, float]


class CouplingCallback(TrainerCallback):
    """Every N steps, on fixed probe prompts: coupling, its excess over chance, and the mismatch to the initial model.

    Use it as ``CouplingCallback(prompts, every=50).attach(trainer)``. Attached, it writes into the trainer's own logs
    (``state.log_history`` and every tracker). Training gives bit for bit the same weights with it and without it.

    It logs, for each K and p: ``coupling/score_k{K}_p{p}``, ``coupling/chance_k{K}_p{p}``,
    ``coupling/excess_k{K}_p{p}``, as means over the probe prompts; for each K and calibrated measure, such as the
    diagonal share, ``coupling/diagonal_share_k{K}`` and its z-score ``coupling/diagonal_share_z_k{K}``. For a K of 10%
    of the width, {K} is ``10pct``, and ``coupling/k10pct`` is the number that it is. Compared with the model at the
    first measurement, at the largest K and p = 2, it logs ``coupling/mismatch_to_initial`` (the mean over blocks) and
    ``coupling/mismatch_to_initial/block_{l}``: m(J_now, J_initial), the present Jacobian in the frames of the initial
    one. ``coupling/line_shape_score``, ``coupling/expodistance`` and ``coupling/residual_growth`` (the norm of the
    residual stream at the end relative to that at the beginning) are medians over the tokens of the prompts. None of
    these has a unit. ``coupling/seconds`` is what the measurement took, and ``coupling/overhead`` the share of the time
    since training began that all measurements took.

    Every process of a distributed training takes part: the main process measures, and all fail together. A model that
    is sharded (FSDP, ZeRO-3) is gathered, and a copy is measured on the main process's CPU.

    Args:
        prompts: texts (tokenized by the trainer's tokenizer), or token ids as ``coupling.measure`` takes them.
        every: steps between measurements. The first measurement is before the first step, and there is one more after
            the last step, before the trainer loads the best checkpoint. The singular frames of the initial model are
            saved with every checkpoint; a training that is resumed from one continues the mismatch to the initial
            model.
        k: numbers of top singular vectors, or shares of the width such as "10%".
        token: the token measured in each prompt.
        block_list: name of the list of residual blocks, where it cannot be found.
        seed: seed of every random draw of the measurement.
        max_overhead: the largest share of the training's time that measurements may take, such as 0.05: one that would
            exceed it is left out. The first one, the last one, and those in evaluations are always made; they
            count. None for no limit.
        in_evaluation: also measure at every evaluation, and put the values into the evaluation's metrics as
            ``eval_coupling/score_k{K}_p{p}`` and so on, for ``metric_for_best_model="coupling/score_k10_p2"`` and
            ``EarlyStoppingCallback``. The callback must be attached.
        blocks: the former name of ``block_list``.

    Attributes:
        history: one dictionary per measurement: ``step`` and what was logged.

    Raises:
        CouplingError: if a setting is wrong; when training begins, if the model or a prompt cannot be measured. If a
            later measurement fails, it is a warning, and the evaluation's metrics are NaN.
    """

    def __init__(
        self,
        prompts: Probes,
        *,
        every: int = 100,
        k: K | Sequence[K] = (10,),
        token: int | Literal["last"] = "last",
        block_list: str | None = None,
        seed: int = 0,
        max_overhead: float | None = None,
        in_evaluation: bool = False,
        blocks: str | None = None,
    ) -> None:
        if every < 1:
            raise CouplingError(f"`every` is {every}, but must be at least 1")
        block_list = renamed("blocks", blocks, "block_list", block_list)
        self.every, self.in_evaluation = every, in_evaluation
        self.probe = Probe(prompts, k=k, token=token, block_list=block_list, seed=seed)
        self.overhead = Overhead(max_overhead)
        self.trainer: Trainer | None = None
        self.history: list[Metrics] = []
        self._last_step = -1
        self._is_training = False
        self._without_initial = False

    def attach(self, trainer: Trainer) -> "CouplingCallback":
        """Add this callback to a trainer, and write into its logs.

        It comes before any ``EarlyStoppingCallback``, which reads the metrics that this one adds to.
        """
        self.trainer = trainer
        trainer.add_callback(self)
        callbacks = trainer.callback_handler.callbacks
        stopping = [index for index, item in enumerate(callbacks) if isinstance(item, EarlyStoppingCallback)]
        if stopping:
            callbacks.insert(stopping[0], callbacks.pop())
        return self

    def measure(self, model: nn.Module, tokenizer: Any = None) -> Metrics:
        """Measure a model now; later calls are compared with the model of the first call.

        Args:
            model: a model that ``coupling.measure`` can measure; it is not changed.
            tokenizer: for prompts that are texts.

        Returns:
            Metric names -> numbers; see the class.

        Raises:
            CouplingError: if the model or a prompt cannot be measured.
        """
        return self.probe.measure(model, tokenizer)

    def load_initial(self, checkpoint: str | Path) -> bool:
        """Take the initial model from a checkpoint that this callback was part of.

        A training that is resumed does so by itself where the checkpoint is in its ``output_dir``, or is named by
        ``TrainingArguments.resume_from_checkpoint``. Call this before ``train`` for a checkpoint elsewhere.

        Args:
            checkpoint: the folder of the checkpoint.

        Returns:
            Whether the checkpoint contains the initial model's frames, on the same prompts, K and token.
        """
        return self.probe.load_initial(Path(checkpoint))

    # The trainer's events. Every process calls them at the same steps.

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the initial model; where training is resumed, only at a step at which it would have been measured."""
        self._is_training, self._last_step = True, -1
        self.overhead.begin()
        if state.global_step > 0 and self.probe.initial is None:
            self._find_initial(args, state)
        if state.global_step % self.every == 0 or self._without_initial:
            self._measure_step(state, control, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure every N steps."""
        if state.global_step % self.every == 0 and self._agreed(self.overhead.admits()):
            self._measure_step(state, control, **kwargs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Add the values to an evaluation's metrics where that was asked for."""
        if not self.in_evaluation or metrics is None:
            return
        if self._is_training:
            self._measure_step(state, control, **kwargs)
            values = self.history[-1] if self.history and self.history[-1]["step"] == state.global_step else None
        else:
            values = self._measured(state, **kwargs)[0]
        if values is None:
            values = dict.fromkeys(self.history[-1], math.nan) if self.history else {}
        prefix = _prefix(metrics)
        metrics |= {f"{prefix}_{name}": value for name, value in values.items() if name.startswith("coupling/")}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Measure the final model when the trainer logs its summary, which is before it loads the best checkpoint."""
        if self._is_training and "train_runtime" in (logs or {}):
            self._measure_step(state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the final model, if the trainer logged no summary."""
        has_loaded_best = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if not has_loaded_best:
            self._measure_step(state, control, **kwargs)
        self._is_training = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the initial model's frames with the checkpoint."""
        folder = _checkpoint(args, state)
        if state.is_world_process_zero and folder.is_dir() and not self._without_initial:
            self.probe.save_initial(folder)

    def _find_initial(self, args: Any, state: Any) -> None:
        """Look for the initial model's frames in the checkpoint that training is resumed from."""
        named = args.resume_from_checkpoint
        folders = [_checkpoint(args, state)] + ([Path(named)] if isinstance(named, str) else [])
        is_found = any(self.probe.load_initial(folder) for folder in folders)
        # The main process measures, so it alone needs the frames, but all must know whether they are there.
        self._without_initial = not self._agreed(is_found)

    def _measure_step(self, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure and log, once per step."""
        if self._last_step == state.global_step:
            return
        self._last_step = state.global_step
        metrics, error = self._measured(state, **kwargs)
        if metrics is None:
            if not self.history:
                raise CouplingError(error)
            # A model that diverges is reported by the training loop; the callback must not stop training.
            if state.is_world_process_zero:
                warnings.warn(f"step {state.global_step}: coupling is not measured: {error}", stacklevel=2)
            return
        self.history.append({"step": state.global_step} | metrics)
        if not state.is_world_process_zero:
            return
        if self.trainer is not None:
            # Any log clears should_log, and with it the trainer's own log of this step, which may be still to come.
            should_log = control.should_log
            # The base class's log, because TRL's would also write, and then clear, the metrics that it still averages.
            Trainer.log(self.trainer, dict(metrics))
            control.should_log = should_log
        else:
            state.log_history.append(metrics | {"step": state.global_step})

    def _measured(self, state: Any, **kwargs: Any) -> tuple[Metrics | None, str]:
        """What the main process measured, or why it could not, on every process."""
        metrics: Metrics | None = None
        reason = ""
        try:
            with self.overhead.counted(), same_random_numbers(), self._whole_model(kwargs["model"]) as model:
                if model is not None and state.is_world_process_zero:
                    metrics = self.measure(model, kwargs.get("processing_class"))
        except CouplingError as error:
            metrics, reason = None, str(error)
        metrics, reason = self._agreed((metrics, reason))
        if metrics is not None:
            if self._without_initial:
                metrics = {name: value for name, value in metrics.items() if "to_initial" not in name}
            metrics |= self._agreed({"coupling/seconds": self.overhead.last, "coupling/overhead": self.overhead.share})
        return metrics, reason

    @contextmanager
    def _whole_model(self, model: nn.Module) -> Iterator[nn.Module | None]:
        """The model as it can be measured; None on the other processes of a training that shards it."""
        accelerator = self._accelerator()
        wrapped = getattr(self.trainer, "model_wrapped", model)
        if accelerator is None:
            yield model
        elif is_sharded(accelerator, wrapped):
            yield gathered(accelerator, wrapped)
        else:
            model = accelerator.unwrap_model(model, keep_torch_compile=False)
            with plain_forward(model):
                yield model

    def _accelerator(self) -> Any:
        return None if self.trainer is None else self.trainer.accelerator

    def _agreed(self, value: Any) -> Any:
        """The main process's value, on every process."""
        accelerator = self._accelerator()
        if accelerator is None or accelerator.num_processes == 1:
            return value
        return broadcast_object_list([value])[0]


def _checkpoint(args: Any, state: Any) -> Path:
    """The folder in which a trainer saves its state of this step."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _prefix(metrics: dict[str, Any]) -> str:
    """The prefix of an evaluation's metrics: "eval", unless the evaluation was given another."""
    if any(name.startswith("eval_") for name in metrics):
        return "eval"
    return next((name.removesuffix("_runtime") for name in metrics if name.endswith("_runtime")), "eval")
