"""The settings of TRL's trainer and of LoRA adapters: this project's defaults, then the user's, every name checked."""

from dataclasses import fields
from typing import Any

from coupling.analyses.rl.config import TASK_MODEL, RunConfig, _is, _nearest
from coupling.errors import CouplingError

OURS = {
    "output_dir": "--out names the folder",
    "seed": "seed is a key of its own",
    "data_seed": "seed is a key of its own",
    "loss_type": "objective chooses it",
    "logging_steps": "the table has a row a step",
    "logging_strategy": "the table has a row a step",
    "logging_nan_inf_filter": "a loss that is not finite stops the run",
    "resume_from_checkpoint": "--resume goes on from the last one",
    **dict.fromkeys(("do_eval", "eval_strategy", "eval_steps", "eval_on_start"), "a run has no data to evaluate on"),
}
"""Trainer settings that the run decides."""
SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "num_iterations",
         "steps_per_generation", "max_completion_length")  # fmt: skip


def trainer_settings(config: RunConfig, config_class: type, *, accelerator: bool) -> dict[str, Any]:
    """Arguments of TRL's config class: the defaults that suit a table and this machine, then the user's.

    Args:
        config: the run.
        config_class: TRL's GRPOConfig or a subclass.
        accelerator: whether there is one; without it the run is in float32 on the CPU.

    Raises:
        CouplingError: if a setting is unknown or not the user's to choose.
    """
    known = {item.name for item in fields(config_class) if item.init}
    for name in config.trainer:
        if name in OURS:
            raise CouplingError(f"trainer.{name} cannot be set: {OURS[name]}")
        if name not in known:
            raise CouplingError(
                f"there is no setting trainer.{name}{_nearest(str(name), known)}; known are the fields of "
                f"{config_class.__name__}: {', '.join(sorted(known - set(OURS)))}"
            )
    if config.objective == "p3o":
        from coupling.rl.trainer import MEANINGLESS

        for name in config.trainer:
            if name in MEANINGLESS:
                raise CouplingError(f"trainer.{name} means nothing in p3o: {MEANINGLESS[name]}; leave it out")
    given = {name: _number(name, value, config_class) for name, value in config.trainer.items()}
    for name, value in given.items():
        if name in SIZES and value is not None and not (_is(value, (int,)) and value >= 1):
            raise CouplingError(f"trainer.{name} is {value!r}, but must be a whole number of at least 1")
    steps = given.get("max_steps", -1)
    if not _is(steps, (int,)) or not (steps == -1 or steps >= 1):
        raise CouplingError(
            f"trainer.max_steps is {steps!r}, but must be at least 1 (or -1, for trainer.num_train_epochs)"
        )
    for name, least in (("learning_rate", 0), ("beta", 0), ("max_grad_norm", 0), ("temperature", None),
                        ("save_steps", None), ("top_p", None)):  # fmt: skip
        value = given.get(name, 1.0)
        if not _is(value, (int, float)) or not (value > 0 or value == least):
            raise CouplingError(
                f"trainer.{name} is {value!r}, but must be {'more than 0' if least is None else '0 or more'}"
            )
    defaults: dict[str, Any] = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    if not accelerator:
        defaults |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False, "gradient_checkpointing": False}
    if config.model == TASK_MODEL:
        defaults |= {"gradient_checkpointing": False, "bf16": False}
    return {**defaults, **given, "seed": config.seed, "logging_steps": 1, "logging_strategy": "steps",
            "logging_nan_inf_filter": False}  # fmt: skip


def lora_config(config: RunConfig) -> Any:
    """The run's adapters as peft's LoraConfig; None where all weights are trained.

    Raises:
        CouplingError: if peft is not installed, or a setting is unknown or wrong.
    """
    if config.lora is None:
        return None
    try:
        from peft import LoraConfig
    except ImportError:
        raise CouplingError("lora needs the peft package: pip install 'block-coupling[lora]'") from None
    known = {item.name for item in fields(LoraConfig) if item.init}
    for name in config.lora:
        if name not in known:
            raise CouplingError(
                f"there is no setting lora.{name}{_nearest(str(name), known)}; known are the fields of peft's "
                f"LoraConfig: {', '.join(sorted(known))}"
            )
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM"} | config.lora)
    except (TypeError, ValueError) as error:
        raise CouplingError(f"the lora settings do not go together: {' '.join(str(error).split())}") from None


def _number(name: str, value: Any, config_class: type) -> Any:
    """A trainer's setting; a number that YAML reads as text, such as 1e-4, as the number that it is.

    Raises:
        CouplingError: if it is a text where the setting is a number.
    """
    (kind,) = [str(getattr(item.type, "__name__", item.type)) for item in fields(config_class) if item.name == name]
    kinds = set(kind.replace("Optional[", "").replace("]", "").replace(" ", "").split("|")) - {"None"}
    if not isinstance(value, str) or not kinds or not kinds <= {"float", "int"}:
        return value
    try:
        return float(value) if "float" in kinds else int(value)
    except ValueError:
        raise CouplingError(f"trainer.{name} is {value!r}, but must be a number") from None
