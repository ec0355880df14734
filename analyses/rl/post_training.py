"""Post-train a model by RL with TRL, and measure coupling through the run: the engine of ``coupling rl``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState

from coupling.analyses.rl.checkpoint_folders import TRL_STATE
from coupling.analyses.rl.config import TASK_MODEL, RunConfig
from coupling.analyses.rl.divergence import diverged, find_divergence
from coupling.analyses.rl.log import MODEL, TABLE, TRAINER, Recorder, Row, RunTable, prepare_folder
from coupling.analyses.rl.processes import is_main_process
from coupling.analyses.rl.resume import Resumption, resumption, trainer_folder
from coupling.analyses.rl.run_record import RunRecord, recorded
from coupling.analyses.rl.trainers import RolloutFunc, build_trainer, generation_window, measure_initial, set_up
from coupling.analyses.rl.warm_start import one_thread
from coupling.errors import CouplingError, one_line, require

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
) -> list[Row]:
    """Post-train a model, one seed after the other, and save a table with one row per seed and step.

    The folder ``out`` then contains ``table.csv`` (written after each step, so that it is complete up to a step that
    fails), ``run.json`` (configuration, versions, how the run ended), ``trainer`` (what TRL saves) and, if the
    configuration asks for it, ``model``.

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

    Returns:
        The table's rows.

    Raises:
        DivergedError: if the model diverges; the message names the step, and the table contains the steps before it.
        CouplingError: if the configuration asks for something that does not exist, a reward is not a finite number,
            or all completions of a step are empty; a message about a step names it, as for divergence.
    """
    require("trl", "datasets", purpose="an RL run")
    out = Path(out).expanduser()
    setup = set_up(config, rollout_func)
    chosen = (config.seed,) if seeds is None else tuple(seeds)
    window = generation_window(setup, out / TRAINER)
    start = resumption(out, config, chosen, window) if resume else Resumption()
    table = _open_table(out, config, start, overwrite=overwrite, resume=resume)
    record = RunRecord(out, config, chosen, window, seeds_done=list(start.done))
    remaining = [seed for seed in chosen if seed not in start.done]
    if not remaining:
        return table.rows()
    with recorded(record):
        for seed in remaining:
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
            record.seeds_done.append(seed)
            start = Resumption()  # the checkpoint belongs to the first of the remaining seeds
    return table.rows()


def _open_table(out: Path, config: RunConfig, start: Resumption, *, overwrite: bool, resume: bool) -> RunTable:
    """The run's table, with the rows that a resumed run keeps; only the main process has a file."""
    table = RunTable(out / TABLE if is_main_process() else None, config.run_name)
    if resume:
        table.read(start.keeps)
    elif is_main_process():
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
        CouplingError: if the first step fails because of a setting.
    """
    trainer.add_callback(recorder)
    try:
        if start.ended:
            _finish(trainer, start)
        else:
            trainer.train(resume_from_checkpoint=None if start.checkpoint is None else str(start.checkpoint))
    except CouplingError:
        raise
    except Exception as error:
        step = trainer.state.global_step + 1
        reason = find_divergence(trainer, error)
        if reason is not None:
            raise diverged(step, reason) from error
        if isinstance(error, ValueError) and step == start.step + 1:
            raise CouplingError(f"training cannot begin: {one_line(error)}") from error
        raise
    recorder.table.write()


def _finish(trainer: Any, start: Resumption) -> None:
    """Do what remains after the last step: load its weights, and measure them."""
    folder = str(start.checkpoint)
    trainer._load_from_checkpoint(folder)
    trainer.state = TrainerState.load_from_json(str(Path(folder) / TRL_STATE))
    trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
