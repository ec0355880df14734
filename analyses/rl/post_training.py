"""Post-train a model by RL with TRL, and measure coupling through the run: the engine of ``coupling rl``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState

from coupling.analyses.rl.checkpoint_folders import TRL_STATE
from coupling.analyses.rl.config import TASK_MODEL, RunConfig
from coupling.analyses.rl.divergence import diverged, find_divergence
from coupling.analyses.rl.folder import MODEL, TABLE, TRAINER, WRITTEN, check_folder, prepare_folder
from coupling.analyses.rl.identity import run_identity
from coupling.analyses.rl.log import Recorder, Row, RunTable
from coupling.analyses.rl.processes import is_main_process
from coupling.analyses.rl.resume import Resumption, check_table, resumption, trainer_folder
from coupling.analyses.rl.run_record import RunRecord, recorded
from coupling.analyses.rl.saved_steps import lacking_weights
from coupling.analyses.rl.trainers import (
    RolloutFunc,
    build_trainer,
    generation_window,
    measure_initial,
    set_up,
    unseen_truncation,
)
from coupling.analyses.rl.warm_start import one_thread
from coupling.errors import CouplingError, one_line, require
from coupling.files import remove_leftovers
from coupling.locking import locked
from coupling.models.translation import is_refused_pickle
from coupling.untrusted import clean, expanded

Progress = Callable[[int, int, int, Mapping[str, Any]], None]
"""Called with (seed, steps done, total number of steps, the step's row)."""


def post_train(
    config: RunConfig,
    out: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    rollout_func: RolloutFunc | None = None,
    prepare: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
    rewards_folder: str | Path = ".",
    trust_rewards: bool = False,
) -> list[Row]:
    """Post-train a model, one seed after the other, and save a table with one row per seed and step.

    The folder ``out`` then contains ``table.csv`` (written after each step, so that it is complete up to a step that
    fails), ``run.json`` (configuration, versions, which seeds are finished, how the run ended; written when each seed
    ends), ``trainer`` (what TRL saves) and, if the configuration asks for it, ``model``. It is locked while the run
    lasts. Wherever the process is killed, the folder is one that ``resume`` or ``overwrite`` accepts.

    Args:
        config: the run's configuration.
        out: folder to write to.
        seeds: default: the configuration's own seed.
        overwrite: replace an earlier run in the folder.
        resume: continue an unfinished run of the same configuration and seeds from its last checkpoint; finished
            seeds are not run again.
        rollout_func: samples instead of the policy (see TRL's ``rollout_func``); every objective then computes its
            ratios with the log-probabilities that it returns.
        prepare: called with the trainer of each seed before it starts, to attach callbacks to it.
        progress: see ``Progress``.
        notify: called with a sentence about a checkpoint that a resumed run passes over, or about truncated sampling
            that the ratios do not show.
        rewards_folder: the folder in which modules of rewards are looked for first, and trusted.
        trust_rewards: import modules of rewards from anywhere, whose code then runs; without it, they have to be in
            ``rewards_folder`` or belong to an installed package.

    Returns:
        The table's rows.

    Raises:
        DivergedError: if the model diverges; the message names the step, and the table contains the steps before it.
        CouplingError: if the configuration asks for something that does not exist, a reward is not a finite number,
            or all completions of a step are empty (a message about a step names it, as for divergence); if another
            process writes to the folder, or the run cannot be resumed.
    """
    require("trl", "datasets", purpose="an RL run")
    out = expanded(out)
    setup = set_up(config, rollout_func, rewards_folder=rewards_folder, trust_rewards=trust_rewards)
    chosen = (config.seed,) if seeds is None else tuple(seeds)
    window = generation_window(setup, out / TRAINER)
    main = is_main_process()
    if main:
        check_folder(out, overwrite=overwrite, resume=resume)  # before the lock, which is a file in the folder
    with locked(out) if main else nullcontext():
        now = cache(lambda: run_identity(config, chosen[0]) if main else {})
        start = resumption(out, config, chosen, window, now) if resume else Resumption()
        identity = start.identity or now()  # before an earlier run is removed, because it may fail
        table = _open_table(out, config, start, overwrite=overwrite, resume=resume)
        if notify is not None:
            for note in start.notes:
                notify(note)
        if start.finished:
            return table.rows()
        unseen = unseen_truncation(setup, out / TRAINER)
        if unseen and notify is not None:
            notify(unseen)
        record = RunRecord(out, config, chosen, window, identity, dict(start.done))
        with recorded(record):
            for seed in chosen:
                if seed in start.done:
                    continue
                folder = trainer_folder(out, seed, chosen)
                trainer = build_trainer(setup, seed, folder)
                if start.checkpoint is not None:
                    measure_initial(trainer)
                if prepare is not None:
                    prepare(trainer)
                with one_thread() if _is_small(config) else nullcontext():
                    _train(trainer, Recorder(table, seed, config.probe.k[0], _of_seed(progress, seed)), start)
                if config.save:
                    trainer.save_model(str(out / MODEL / folder.relative_to(out / TRAINER)))
                record.finish_seed(seed, trainer.state.global_step)
                start = Resumption(start.done)  # the checkpoint belongs to the first of the remaining seeds
    return table.rows()


def _open_table(out: Path, config: RunConfig, start: Resumption, *, overwrite: bool, resume: bool) -> RunTable:
    """The run's table, with the rows that a resumed run keeps; only the main process has a file."""
    table = RunTable(out / TABLE if is_main_process() else None, config.run_name)
    if not is_main_process():
        return table
    if resume:
        remove_leftovers(out, WRITTEN)
        table.read(start.keeps)
        check_table(table, start, first=0 if config.probe.every else 1)
    else:
        prepare_folder(out, overwrite=overwrite)
    return table


def _is_small(config: RunConfig) -> bool:
    """Whether a run is faster with one thread."""
    return config.model == TASK_MODEL and not torch.accelerator.is_available()


def _of_seed(progress: Progress | None, seed: int) -> Callable[[int, int, Mapping[str, Any]], None] | None:
    return None if progress is None else lambda done, total, row: progress(seed, done, total, row)


def _train(trainer: Any, recorder: Recorder, start: Resumption) -> None:
    """Train to the end, from the beginning or from a checkpoint.

    Raises:
        DivergedError: if training fails and the model is not finite.
        CouplingError: if the first step fails because of a setting, or the checkpoint cannot be loaded.
    """
    trainer.add_callback(recorder)
    lacking = "" if start.checkpoint is None else lacking_weights(trainer.model, start.checkpoint)
    if lacking:
        raise CouplingError(_unusable(start, f"its weights lack {lacking}"))
    begun = _Begun()
    trainer.add_callback(begun)
    try:
        if start.ended:
            _finish(trainer, start, begun)
        else:
            if start.checkpoint is not None:
                trainer.args.eval_on_start = False  # an evaluation at this step was made before the checkpoint
            trainer.train(resume_from_checkpoint=None if start.checkpoint is None else str(start.checkpoint))
    except CouplingError:
        raise
    except SystemExit as error:  # the program would end as if all were well
        step = trainer.state.global_step + 1
        raise CouplingError(f"step {step}: something that the run called ended the program (SystemExit)") from error
    except Exception as error:
        step = trainer.state.global_step + 1
        reason = find_divergence(trainer, error)
        if reason is not None:
            raise diverged(step, reason) from error
        if start.checkpoint is not None and not begun.begun:
            raise CouplingError(_unusable(start, _damage(error))) from error
        if isinstance(error, ValueError) and step == start.step + 1:
            raise CouplingError(f"training cannot begin: {one_line(error)}") from error
        raise
    if not begun.begun:
        raise CouplingError(_no_step(trainer))
    recorder.table.write()


def _no_step(trainer: Any) -> str:
    """Why a training ended without a step."""
    needed = trainer.args.generation_batch_size // trainer.args.num_generations
    return (
        f"no step was made: the data has {len(trainer.train_dataset)} prompts, and a batch needs {needed}; give more "
        "prompts, or a smaller trainer.per_device_train_batch_size"
    )


class _Begun(TrainerCallback):
    """Knows whether a step has begun, after everything was loaded that a checkpoint contains."""

    begun = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note it."""
        self.begun = True


def _unusable(start: Resumption, reason: str) -> str:
    return (
        f"{start.checkpoint} cannot be continued from ({reason}); remove it to continue from the checkpoint before it, "
        "or give `overwrite=True` to begin again"
    )


def _damage(error: Exception) -> str:
    """Why a checkpoint could not be loaded."""
    if is_refused_pickle(error):
        return "a file in it contains more than tensors, which can be code that runs when it is read"
    return f"{type(error).__name__}: {clean(one_line(error), 200)}"


def _finish(trainer: Any, start: Resumption, begun: _Begun) -> None:
    """Do what remains after the last step: load its weights, and measure them."""
    folder = str(start.checkpoint)
    trainer._load_from_checkpoint(folder)
    trainer.state = TrainerState.load_from_json(str(Path(folder) / TRL_STATE))
    begun.on_step_begin()
    trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
