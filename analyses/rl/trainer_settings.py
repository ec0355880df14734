"""The settings of TRL's trainer and of LoRA adapters: this project's defaults, then the user's, every name checked."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from coupling.analyses.rl.checks import has_type, named
from coupling.analyses.rl.config import TASK_MODEL, RunConfig
from coupling.analyses.rl.evaluation import evaluation_settings
from coupling.choices import OWN_OBJECTIVES
from coupling.errors import CouplingError, one_line, require
from coupling.untrusted import quoted

NOT_THE_USERS = {
    "output_dir": "`out` names the folder",
    "seed": "seed is a key beside trainer",
    "data_seed": "seed is a key beside trainer",
    "loss_type": "objective chooses it",
    "logging_steps": "the table has one row per step",
    "logging_strategy": "the table has one row per step",
    "logging_nan_inf_filter": "a loss that is not finite stops the run",
    "resume_from_checkpoint": "`resume=True` continues from the last checkpoint",
    **dict.fromkeys(
        ("do_eval", "eval_strategy", "eval_steps", "eval_on_start", "num_generations_eval"),
        "evaluation is a key beside trainer",
    ),
}
"""Trainer settings that the run decides, and why."""
SIZES = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "num_iterations",
    "steps_per_generation",
    "max_completion_length",
)
"""Trainer settings that are whole numbers of at least 1."""
AT_LEAST_ZERO = ("learning_rate", "beta", "max_grad_norm")
"""Trainer settings that are numbers of at least 0."""
POSITIVE = ("temperature", "save_steps", "top_p")
"""Trainer settings that are numbers above 0."""


def trainer_settings(config: RunConfig, config_class: type, *, accelerator: bool) -> dict[str, Any]:
    """Arguments of TRL's config class: the defaults that suit a table and this machine, then the user's.

    Args:
        config: the run.
        config_class: TRL's GRPOConfig or a subclass.
        accelerator: whether the machine has one; without it the run is in float32 on the CPU.

    Raises:
        CouplingError: if a setting is unknown, cannot be chosen, or has a value that cannot work.
    """
    _check_names(config, config_class)
    given = {name: _parse_number(name, value, config_class) for name, value in config.trainer.items()}
    _check_ranges(given)
    return {
        **_defaults(config, accelerator=accelerator),
        **evaluation_settings(config.evaluation),
        **given,
        "seed": config.seed,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": False,
    }


def lora_config(config: RunConfig) -> Any:
    """The run's adapters as peft's LoraConfig; None where all weights are trained.

    Raises:
        CouplingError: if peft is not installed, or a setting is unknown or wrong.
    """
    if config.lora is None:
        return None
    require("peft", purpose="lora")
    from peft import LoraConfig

    known = {item.name for item in fields(LoraConfig) if item.init}
    for name in config.lora:
        if name not in known:
            raise CouplingError(
                f"there is no setting lora.{named(name, known)}; known are the fields of peft's "
                f"LoraConfig: {', '.join(sorted(known))}"
            )
    arguments: dict[str, Any] = {"task_type": "CAUSAL_LM"} | config.lora
    try:
        return LoraConfig(**arguments)
    except (TypeError, ValueError) as error:
        raise CouplingError(f"the lora settings do not go together: {one_line(error, most=1000)}") from None


def _check_names(config: RunConfig, config_class: type) -> None:
    """Check that every setting exists, has a meaning for the objective, and can be chosen by the user."""
    known = {item.name for item in fields(config_class) if item.init}
    for name in config.trainer:
        if name in NOT_THE_USERS:
            raise CouplingError(f"trainer.{name} cannot be set: {NOT_THE_USERS[name]}")
        if name not in known:
            raise CouplingError(
                f"there is no setting trainer.{named(name, known)}{_of_others(name, config.objective)}; known are "
                f"the fields of {_source(config_class)}, which `help({config_class.__name__})` shows in Python"
            )
    if config.objective in OWN_OBJECTIVES:
        from coupling.rl.config import MEANINGLESS

        for name in config.trainer:
            if name in MEANINGLESS:
                raise CouplingError(
                    f"trainer.{name} cannot be set for {config.objective}: {MEANINGLESS[name]}; leave it out"
                )


def _of_others(name: str, objective: str) -> str:
    """A remark on an unknown setting that this project's own objectives have."""
    if objective in OWN_OBJECTIVES:
        return ""
    from coupling.rl.config import P3OConfig

    is_own = name in {item.name for item in fields(P3OConfig)}
    return f" with objective {objective}: it belongs to {' and '.join(OWN_OBJECTIVES)}" if is_own else ""


def _source(config_class: type) -> str:
    """A class of settings with its module."""
    return f"{config_class.__module__}.{config_class.__name__}"


def _check_ranges(given: Mapping[str, Any]) -> None:
    """Check the values that TRL would accept and then fail on."""
    for name in SIZES:
        value = given.get(name)
        if value is not None and not (has_type(value, int) and value >= 1):
            raise CouplingError(f"trainer.{name} is {quoted(value)}, but must be a whole number of at least 1")
    steps = given.get("max_steps", -1)
    if not has_type(steps, int) or not (steps == -1 or steps >= 1):
        raise CouplingError(
            f"trainer.max_steps is {quoted(steps)}, but must be a whole number of at least 1 (or -1, for "
            "trainer.num_train_epochs)"
        )
    share = given.get("top_p", 1.0)
    if has_type(share, int, float) and share > 1:
        raise CouplingError(f"trainer.top_p is {quoted(share)}, but must be at most 1")
    for name in (*AT_LEAST_ZERO, *POSITIVE):
        value = given.get(name, 1.0)
        if not has_type(value, int, float) or not (value > 0 or (value == 0 and name in AT_LEAST_ZERO)):
            allowed = "a number of at least 0" if name in AT_LEAST_ZERO else "a number above 0"
            raise CouplingError(f"trainer.{name} is {quoted(value)}, but must be {allowed}")


def _defaults(config: RunConfig, *, accelerator: bool) -> dict[str, Any]:
    defaults: dict[str, Any] = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    if not accelerator:
        defaults |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False, "gradient_checkpointing": False}
    if config.model == TASK_MODEL:
        defaults |= {"gradient_checkpointing": False, "bf16": False}
    return defaults


def _parse_number(name: str, value: Any, config_class: type) -> Any:
    """A setting whose number YAML reads as text, such as 1e-4, as a number; every other value as it is.

    Raises:
        CouplingError: if it is a text that is not a number, and the setting is a number; or if the setting is true or
            false, and the value is neither.
    """
    (annotation,) = [
        str(getattr(item.type, "__name__", item.type)) for item in fields(config_class) if item.name == name
    ]
    types = set(annotation.replace("Optional[", "").replace("]", "").replace(" ", "").split("|")) - {"None"}
    if types == {"bool"} and not isinstance(value, bool | None):
        raise CouplingError(f"trainer.{name} is {quoted(value)}, but must be true or false")
    if not isinstance(value, str) or not types or not types <= {"float", "int"}:
        return value
    try:
        return float(value) if "float" in types else int(value)
    except ValueError:
        raise CouplingError(f"trainer.{name} is {quoted(value)}, but must be a number") from None
