"""The configuration of an RL run: read from YAML, with every key checked before anything is loaded."""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from coupling.analyses.rl.checks import check_fields
from coupling.choices import OBJECTIVES
from coupling.errors import CouplingError
from coupling.shares import normalize_k
from coupling.untrusted import MOST_YAML, clean, expanded, parse_yaml, quoted, read_text

ANSWER_REWARDS = ("exact", "number")
"""The built-in rewards; they compare a completion with the column of answers."""
TASK_MODEL = "task"
"""The model's name that stands for the small model that is first trained on the task."""


@dataclass(frozen=True)
class DataConfig:
    """Where prompts come from: a built-in task, a file or a data set.

    Attributes:
        task: a built-in task.
        file: a .jsonl, .csv or .parquet file.
        dataset: anything that ``datasets.load_dataset`` loads.
        config: the data set's configuration.
        split: the data set's split.
        prompt: the column that contains the prompt.
        answer: the column that contains the right answer, given to reward functions as ``answer``; None for no column.
        chat: give the prompt as a user's message in the model's chat template.
        system: a system message before it; applies to chat.
        limit: use the first ``limit`` rows; for a task, draw this many.
    """

    task: str | None = None
    file: str | None = None
    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    prompt: str = "prompt"
    answer: str | None = "answer"
    chat: bool = False
    system: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("task", "file", "dataset") if getattr(self, name) is not None]
        if len(given) != 1:
            raise CouplingError(
                f"data needs exactly one of task, file and dataset, and has {', '.join(given) or 'none of them'}"
            )
        if self.limit is not None and self.limit < 1:
            raise CouplingError(f"data.limit is {quoted(self.limit)}, but must be at least 1")
        if self.system is not None and not self.chat:
            raise CouplingError("data.system applies only with data.chat: true")


@dataclass(frozen=True)
class ProbeConfig:
    """When coupling is measured, and on which prompts.

    Attributes:
        every: measure at step 0 and every ``every`` steps; 0 for never.
        k: numbers of top singular vectors, or shares of the width such as "10%"; the first is the table's ``score``,
            ``chance`` and ``excess``.
        prompts: texts, or a file (see ``coupling.models.prompts.read_prompts``); None for the first prompts of the
            data.
        count: the number of prompts.
    """

    every: int = 10
    k: tuple[int | str, ...] = (10,)
    prompts: tuple[str, ...] | str | None = None
    count: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.prompts, list):
            object.__setattr__(self, "prompts", tuple(self.prompts))
        if self.every < 0:
            raise CouplingError(f"probe.every is {quoted(self.every)}, but must be 0 (never) or more")
        if self.count < 1:
            raise CouplingError(f"probe.count is {quoted(self.count)}, but must be at least 1")
        given = (self.k,) if isinstance(self.k, (int, str)) else tuple(self.k)
        try:
            normalize_k(given)
            object.__setattr__(self, "k", tuple(normalize_k(one)[0] for one in given))
        except CouplingError as error:
            raise CouplingError(f"probe.k is {quoted(list(given))}: {str(error).replace('`', '')}") from None


@dataclass(frozen=True)
class EvaluationConfig:
    """When the policy is evaluated on held-out prompts, and how.

    Attributes:
        every: evaluate at step 0 and every ``every`` steps.
        data: the held-out prompts; None for new examples of the built-in task.
        count: the number of prompts that are drawn from the task; other data have their own ``limit``.
        samples: completions of each prompt.
        k: log pass@k, the chance that at least one of k completions solves a prompt, for these k.
        solved: a completion solves its prompt if the first of its rewards is at least this.
    """

    every: int = 50
    data: DataConfig | None = None
    count: int = 64
    samples: int = 8
    k: tuple[int, ...] = (1,)
    solved: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", (self.k,) if isinstance(self.k, int) else tuple(self.k))
        for name in ("every", "count", "samples"):
            if getattr(self, name) < 1:
                raise CouplingError(f"evaluation.{name} is {quoted(getattr(self, name))}, but must be at least 1")
        if not self.k or any(not 1 <= k <= self.samples for k in self.k):
            raise CouplingError(
                f"evaluation.k is {quoted(list(self.k))}, but must contain numbers from 1 to evaluation.samples, "
                f"{self.samples}"
            )


@dataclass(frozen=True)
class RunConfig:
    """The configuration of one RL run.

    Attributes:
        model: a folder, a hub id, or "task" for a small model that is first trained on the data's task.
        objective: one of ``coupling.choices.OBJECTIVES``.
        data: prompts and answers.
        reward: names of built-in rewards ("exact", "number") or of functions ("module:function"). Importing a module
            runs its code.
        overlong_buffer: add TRL's penalty of long completions, which grows over this many tokens before
            ``trainer.max_completion_length``; None for none.
        tools: functions ("module:function") that the model may call, as TRL's ``tools``; None for none.
        environment: a class ("module:Class") of which each completion gets an instance, as TRL's
            ``environment_factory``.
        reward_timeout: seconds that one call of a reward may take; None for no limit.
        probe: when coupling is measured, and on which prompts.
        evaluation: when the policy is evaluated on held-out prompts; None for never.
        trainer: settings of TRL's GRPOConfig (for p3o of P3OConfig), passed through.
        lora: train adapters with these settings of peft's LoraConfig, passed through; None trains all weights.
        seed: the seed of sampling, shuffling and the task's prompts.
        save: save the final model beside the table.
        name: the table's column ``run``; default: the objective.
    """

    data: DataConfig
    model: str = TASK_MODEL
    objective: str = "p3o"
    reward: tuple[str, ...] = ("exact",)
    overlong_buffer: int | None = None
    tools: tuple[str, ...] | None = None
    environment: str | None = None
    reward_timeout: float | None = None
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    evaluation: EvaluationConfig | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    seed: int = 0
    save: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reward", (self.reward,) if isinstance(self.reward, str) else tuple(self.reward))
        if self.objective not in OBJECTIVES:
            raise CouplingError(f"objective is {quoted(self.objective)}, but must be one of {', '.join(OBJECTIVES)}")
        if self.tools is not None:
            object.__setattr__(self, "tools", (self.tools,) if isinstance(self.tools, str) else tuple(self.tools))
        longest = self.trainer.get("max_completion_length", 256)  # TRL's default
        if self.overlong_buffer is not None and not (isinstance(longest, int) and 1 <= self.overlong_buffer <= longest):
            raise CouplingError(
                f"overlong_buffer is {quoted(self.overlong_buffer)}, but must be from 1 to "
                f"trainer.max_completion_length, {quoted(longest)}"
            )
        if not self.reward:
            raise CouplingError("reward names no function; give exact, number or module:function")
        if self.reward_timeout is not None and not 0 < self.reward_timeout < math.inf:
            raise CouplingError(
                f"reward_timeout is {quoted(self.reward_timeout)}, but must be a number of seconds above 0"
            )
        comparing = [name for name in self.reward if name in ANSWER_REWARDS]
        if comparing and self.data.answer is None:
            raise CouplingError(
                f"the reward {comparing[0]} compares with the right answer, but data.answer names no column"
            )
        if self.model == TASK_MODEL and self.data.task is None:
            raise CouplingError("model is 'task', the small model trained on a built-in task, but data names no task")
        if self.evaluation is not None and self.evaluation.data is None and self.data.task is None:
            raise CouplingError("evaluation.data names no held-out prompts; only a built-in task can draw new ones")
        if not 0 <= self.seed < 2**32:
            raise CouplingError(f"seed is {quoted(self.seed)}, but must be 0 to 2^32 - 1")

    def keeping_checkpoints(self, every: int) -> "RunConfig":
        """The same configuration, with a checkpoint after each given number of steps."""
        return replace(self, trainer=self.trainer | {"save_strategy": "steps", "save_steps": every})

    @property
    def run_name(self) -> str:
        """The table's column ``run``."""
        return self.name if self.name is not None else self.objective

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON and YAML represent it."""
        return asdict(self)


def from_mapping(content: Any, source: str = "the configuration") -> RunConfig:
    """A checked configuration from the content of a YAML file.

    Args:
        content: a mapping with the fields of ``RunConfig``.
        source: what messages call it.

    Raises:
        CouplingError: if a key is unknown or missing, or a value has the wrong type; the message names the known keys.

    Example:
        >>> config = from_mapping({"data": {"task": "brackets"}, "probe": {"k": 5}})
        >>> config.objective, config.probe.k
        ('p3o', (5,))
    """
    try:
        values = check_fields(RunConfig, content)
        if "data" not in values:
            raise CouplingError("there is no data; give data.task, data.file or data.dataset")
        values["data"] = DataConfig(**check_fields(DataConfig, values["data"], "data."))
        if "probe" in values:
            values["probe"] = ProbeConfig(**check_fields(ProbeConfig, values["probe"], "probe."))
        if values.get("evaluation") is not None:
            evaluation = check_fields(EvaluationConfig, values["evaluation"], "evaluation.")
            if evaluation.get("data") is not None:
                evaluation["data"] = DataConfig(**check_fields(DataConfig, evaluation["data"], "evaluation.data."))
            values["evaluation"] = EvaluationConfig(**evaluation)
        return RunConfig(**values)
    except CouplingError as error:
        raise CouplingError(f"{source}: {error}") from None


def read_config(path: str | Path) -> RunConfig:
    """A checked configuration from a YAML file.

    Raises:
        CouplingError: if the file is missing, too large or not YAML, or if its content is wrong (see ``from_mapping``).
    """
    path = expanded(path)
    try:
        content = parse_yaml(read_text(path, MOST_YAML), path)
    except OSError as error:
        raise CouplingError(f"cannot read {clean(path, 300)}: {error.strerror or error}") from None
    return from_mapping(content, clean(path, 300))
