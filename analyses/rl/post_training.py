"""Post-train a model by RL with TRL, coupling tracked through it: what ``coupling rl`` calls."""

import importlib.util
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState

from coupling.analyses.rl.checkpoints import TRL_STATE
from coupling.analyses.rl.config import MISSING, TASK_MODEL, RunConfig
from coupling.analyses.rl.log import MODEL, SUMMARY, TABLE, TRAINER, Recorder, Row, RunTable, diverged, prepare_folder
from coupling.analyses.rl.processes import AgreedRewards, is_first
from coupling.analyses.rl.resume import Resumption, place_of, resumption
from coupling.analyses.rl.trainer_settings import lora_config, trainer_settings
from coupling.analyses.rl.warm_start import one_thread
from coupling.errors import CouplingError, first_line
from coupling.files import write_atomically
from coupling.version import __version__

Progress = Callable[[int, int, int, Mapping[str, Any]], None]
"""Called with (seed, steps done, steps in all, the row of the step)."""


def run(
    config: RunConfig,
    out: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    rollout_func: Callable[..., Any] | None = None,
    prepare: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Post-train, one seed after the other, and save a table with one row a seed and step.

    The folder ``out`` holds ``table.csv`` (there after each step, so up to the step at which anything failed),
    ``run.json`` (configuration, versions, how it ended), ``trainer`` (what TRL saves) and, if asked for, ``model``.

    Args:
        config: what is run.
        out: folder to write to.
        seeds: default: the configuration's own.
        overwrite: replace a run that is there.
        resume: go on with an unfinished run that is there, of the same configuration and seeds, from its last
            checkpoint; seeds that are finished are not run again.
        rollout_func: samples in the policy's place (see TRL's ``rollout_func``); every objective then takes its
            ratios to the log-probabilities that it brings.
        prepare: called with each seed's trainer before it starts, to attach callbacks to it.
        progress: see ``Progress``.

    Returns:
        The table's rows.

    Raises:
        CouplingError: if something asked for is not there, a reward is not a finite number, all completions of a
            step are empty, or the model diverges; the message names the step, and the table holds those before it.
    """
    for package in ("trl", "datasets"):
        if importlib.util.find_spec(package) is None:
            raise CouplingError(MISSING)
    out = Path(out).expanduser()
    first = is_first()
    from coupling.analyses.rl.rewards import find_reward, watched

    rewards = [watched(name, find_reward(name), alone=len(config.reward) == 1) for name in config.reward]
    config_class, trainer_class = _classes(config.objective)
    mixins: tuple[type, ...] = (AgreedRewards,)
    if config.objective != "p3o":
        from coupling.rl.ess_logging import RatioStatistics, RatioToBehavior

        mixins += (RatioStatistics,) if rollout_func is None else (RatioToBehavior, RatioStatistics)
    trainer_class = type(f"Watched{trainer_class.__name__}", (*mixins, trainer_class), {})
    settings = trainer_settings(config, config_class, accelerator=torch.accelerator.is_available())
    adapter = lora_config(config)
    chosen = (config.seed,) if seeds is None else tuple(seeds)
    before = Resumption()
    window = _generation_window(_instantiate(config, config_class, settings | {"output_dir": str(out / TRAINER)}))
    if resume:
        before = resumption(out, config, chosen, window)
    table = RunTable(out / TABLE if first else None, config.run_name)
    if resume:
        table.read(before.keeps)
    elif first:
        prepare_folder(out, overwrite=overwrite)
    done = list(before.done)
    if set(chosen) <= set(done):
        return table.rows()
    started = time.perf_counter()
    ending: dict[str, Any] = {"finished": False, "error": "interrupted"}
    ending["generation_window"] = window
    _summarize(out, config, chosen, ending | {"error": None, "seeds_done": done}, first)
    try:
        for seed in [seed for seed in chosen if seed not in done]:
            start, before = before, Resumption()
            place = place_of(out, seed, chosen)
            arguments = settings | {"seed": seed, "output_dir": str(place)}
            trainer = _trainer(config, seed, rewards, config_class, trainer_class, arguments, adapter, rollout_func)
            if start.checkpoint is not None:
                _measure_initial(trainer)
            if prepare is not None:
                prepare(trainer)
            small = config.model == TASK_MODEL and not torch.accelerator.is_available()
            with one_thread() if small else nullcontext():
                _train(trainer, Recorder(table, seed, config.probe.k[0], _for_seed(progress, seed)), start)
            if config.save:
                trainer.save_model(str(out / MODEL / place.relative_to(out / TRAINER)))
            done.append(seed)
        ending = {"finished": True, "generation_window": window}
    except Exception as error:
        ending["error"] = str(error)
        saved = f"; the steps before it are in {out / TABLE}" if (out / TABLE).exists() else ""
        if isinstance(error, CouplingError):
            raise CouplingError(f"{error}{saved}") from error.__cause__
        raise
    finally:
        ending["seeds_done"] = done
        _summarize(out, config, chosen, ending | {"seconds": round(time.perf_counter() - started, 1)}, first)
    return table.rows()


def _for_seed(progress: Progress | None, seed: int) -> Callable[[int, int, Mapping[str, Any]], None] | None:
    return None if progress is None else lambda done, total, row: progress(seed, done, total, row)


def _classes(objective: str) -> tuple[type, type]:
    """The config and trainer classes of an objective; the one place that knows where they live."""
    try:
        if objective == "p3o":
            from coupling.rl import P3OConfig, P3OTrainer

            return P3OConfig, P3OTrainer
        from trl import GRPOConfig, GRPOTrainer

        return GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise CouplingError(f"{MISSING} ({first_line(error)})") from None


def _trainer(
    config: RunConfig, seed: int, rewards: list[Any], config_class: type, trainer_class: type,
    arguments: dict[str, Any], adapter: Any, rollout_func: Callable[..., Any] | None,
) -> Any:  # fmt: skip
    from transformers import PrinterCallback, set_seed

    from coupling.analyses.rl.data import initial_model, read_rows

    logging.getLogger("trl").setLevel(logging.ERROR)
    settings = _instantiate(config, config_class, arguments)
    with settings.main_process_first():  # the others find in the caches what it made
        rows = read_rows(config.data, seed)
        model = initial_model(config, seed)
    set_seed(seed)  # an adapter is drawn before TRL sets it
    try:
        trainer = trainer_class(model=model, reward_funcs=rewards, args=settings, train_dataset=rows,
                                peft_config=adapter, rollout_func=rollout_func)  # fmt: skip
    except CouplingError:
        raise
    except Exception as error:  # whatever TRL, transformers, a tracker or peft find wrong with what was asked for
        raise CouplingError(f"cannot set up RL of {model}: {' '.join(str(error).split())[:300]}") from error
    trainer.remove_callback(PrinterCallback)
    if config.probe.every:
        _probe(config, rows).attach(trainer)
    return trainer


def _probe(config: RunConfig, rows: Any) -> Any:
    """The callback that measures coupling through the run."""
    from coupling.analyses.rl.data import probe_texts
    from coupling.rl import CouplingCallback

    return CouplingCallback(probe_texts(config.probe, rows), every=config.probe.every, k=config.probe.k)


def _measure_initial(trainer: Any) -> None:
    """Show the initial policy to the callback that measures against it, before a checkpoint's weights replace it."""
    from coupling.rl import CouplingCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, CouplingCallback) and is_first():
            callback.measure(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class)


def _instantiate(config: RunConfig, config_class: type, arguments: dict[str, Any]) -> Any:
    """TRL's settings object.

    Raises:
        CouplingError: in the words of whatever refuses them.
    """
    if config.objective != "p3o":
        arguments = arguments | {"loss_type": config.objective}
    try:
        return config_class(**arguments)
    except CouplingError:
        raise
    except Exception as error:  # TRL, transformers, accelerate and DeepSpeed each check in their own way
        raise CouplingError(f"the trainer settings do not go together: {' '.join(str(error).split())}") from error


def _generation_window(settings: Any) -> int:
    """Steps from one generation of rollouts to the next, or the fewest at which both begin."""
    micro_batches = settings.steps_per_generation * settings.num_iterations
    return micro_batches // math.gcd(micro_batches, settings.gradient_accumulation_steps)


def _train(trainer: Any, recorder: Recorder, start: Resumption) -> None:
    trainer.add_callback(recorder)
    checkpoint = None if start.checkpoint is None else str(start.checkpoint)
    try:
        if checkpoint is not None and start.ended:  # only what follows the last step is missing
            trainer._load_from_checkpoint(checkpoint)
            trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / TRL_STATE))
            trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        else:
            trainer.train(resume_from_checkpoint=checkpoint)
    except CouplingError:
        raise
    except Exception as error:
        step = trainer.state.global_step + 1
        bad = [name for name, weight in trainer.model.named_parameters()
               if weight.is_floating_point() and not torch.isfinite(weight).all()]  # fmt: skip
        if bad:
            raise diverged(step, f"{len(bad)} parameters hold a NaN or an infinity, among them {bad[0]}") from error
        if "probability tensor contains" in str(error):
            raise diverged(step, "its next-token probabilities are not finite") from error
        if isinstance(error, ValueError) and step == start.step + 1:
            raise CouplingError(f"training cannot begin: {' '.join(str(error).split())[:300]}") from error
        raise
    recorder.table.write()


def _summarize(out: Path, config: RunConfig, seeds: tuple[int, ...], ending: dict[str, Any], first: bool) -> None:
    if not first:
        return
    summary = {
        "config": config.as_dict(),
        "seeds": list(seeds),
        **ending,
        "environment": {
            "python": platform.python_version(), "platform": platform.platform(), "block-coupling": __version__,
            **{name: version(name) for name in ("torch", "transformers", "trl", "datasets")},
        },
    }  # fmt: skip
    write_atomically(out / SUMMARY, (json.dumps(summary, indent=2, default=str) + "\n").encode())
