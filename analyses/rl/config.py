"""What a run of RL is asked for: read from YAML, every key checked before anything is loaded."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from coupling.choices import OBJECTIVES
from coupling.errors import CouplingError

COMPARED = ("exact", "number")
"""Built-in rewards, which compare a completion with the column of answers."""
TASK_MODEL = "task"
"""The model's name that stands for the small one trained on the task first."""


@dataclass(frozen=True)
class DataConfig:
    """Where prompts come from: a built-in task, a file or a data set.

    Attributes:
        task: a built-in task.
        file: a .jsonl or .csv file.
        dataset: anything that ``datasets.load_dataset`` loads.
        config: the data set's configuration.
        split: the data set's split.
        prompt: the column that holds the prompt.
        answer: the column that holds the right answer, given to reward functions as ``answer``; None for none.
        chat: give the prompt as a user's message, by the model's chat template.
        system: a system message before it; belongs to chat.
        limit: use the first so many rows; for a task, draw so many.
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
                f"data needs exactly one of task, file and dataset, and has {', '.join(given) or 'none'}"
            )
        if self.limit is not None and self.limit < 1:
            raise CouplingError(f"data.limit is {self.limit}, but must be at least 1")
        if self.system is not None and not self.chat:
            raise CouplingError("data.system belongs to data.chat: true")


@dataclass(frozen=True)
class ProbeConfig:
    """When and on what coupling is measured.

    Attributes:
        every: measure at step 0 and every so many steps; 0 for never.
        k: numbers of top singular vectors; the first is the table's ``score``, ``chance`` and ``excess``.
        prompts: texts, or a file (see ``coupling.prompts.read_prompts``); None for the first prompts of the data.
        count: how many of them.
    """

    every: int = 10
    k: tuple[int, ...] = (10,)
    prompts: tuple[str, ...] | str | None = None
    count: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", (self.k,) if isinstance(self.k, int) else tuple(self.k))
        if isinstance(self.prompts, list):
            object.__setattr__(self, "prompts", tuple(self.prompts))
        if self.every < 0:
            raise CouplingError(f"probe.every is {self.every}, but must be 0 (never) or more")
        if self.count < 1:
            raise CouplingError(f"probe.count is {self.count}, but must be at least 1")
        if not self.k or any(k < 1 for k in self.k):
            raise CouplingError(f"probe.k is {list(self.k)}, but must hold numbers of at least 1")


@dataclass(frozen=True)
class RunConfig:
    """One run of RL.

    Attributes:
        model: a folder, a hub id, or "task" for a small model first trained on the data's task.
        objective: one of ``OBJECTIVES``.
        data: prompts and answers.
        reward: names of built-in rewards ("exact", "number") or of functions ("module:function").
        probe: when and on what coupling is measured.
        trainer: settings of TRL's GRPOConfig (for p3o P3OConfig), passed through.
        lora: train adapters with these settings of peft's LoraConfig, passed through; None trains all weights.
        seed: of sampling, shuffling and the task's prompts.
        save: keep the final model beside the table.
        name: the table's column ``run``; default: the objective.
    """

    data: DataConfig
    model: str = TASK_MODEL
    objective: str = "p3o"
    reward: tuple[str, ...] = ("exact",)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    seed: int = 0
    save: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reward", (self.reward,) if isinstance(self.reward, str) else tuple(self.reward))
        if self.objective not in OBJECTIVES:
            raise CouplingError(f"objective is {self.objective!r}, but must be one of {', '.join(OBJECTIVES)}")
        if not self.reward:
            raise CouplingError("reward names no function; give exact, number or module:function")
        compared = [name for name in self.reward if name in COMPARED]
        if compared and self.data.answer is None:
            raise CouplingError(f"the reward {compared[0]} compares with the right answer, and data.answer names none")
        if self.model == TASK_MODEL and self.data.task is None:
            raise CouplingError("model is 'task', the small model trained on a built-in task, but data names no task")
        if not 0 <= self.seed < 2**32:
            raise CouplingError(f"seed is {self.seed}, but must be 0 to 2^32 - 1")

    @property
    def run_name(self) -> str:
        """The table's column ``run``."""
        return self.name if self.name is not None else self.objective

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON and YAML know it."""
        return asdict(self)


def from_mapping(content: Any, source: str = "the configuration") -> RunConfig:
    """A checked configuration from what a YAML file holds.

    Args:
        content: a mapping with the fields of ``RunConfig``.
        source: what messages call it.

    Raises:
        CouplingError: if a key is unknown, of the wrong kind or missing; the message names those that there are.
    """
    try:
        values = _checked(RunConfig, content, "")
        if "data" not in values:
            raise CouplingError("there is no data; give data.task, data.file or data.dataset")
        values["data"] = DataConfig(**_checked(DataConfig, values["data"], "data."))
        if "probe" in values:
            values["probe"] = ProbeConfig(**_checked(ProbeConfig, values["probe"], "probe."))
        return RunConfig(**values)
    except CouplingError as error:
        raise CouplingError(f"{source}: {error}") from None


def read_config(path: str | Path) -> RunConfig:
    """A checked configuration from a YAML file.

    Raises:
        CouplingError: if the file is missing, is not YAML, or holds something wrong.
    """
    path = Path(path).expanduser()
    try:
        import yaml
    except ImportError:
        raise CouplingError(MISSING) from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CouplingError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CouplingError(f"{path} is not UTF-8 text; save it in that encoding") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}," if mark is not None else ""
        raise CouplingError(f"{path}{where} is not YAML: {getattr(error, 'problem', None) or error}") from None
    return from_mapping(content, str(path))


MISSING = "coupling rl needs the trl, datasets and pyyaml packages: pip install 'block-coupling[rl]'"

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "str | None": ((str, type(None)), "a text"),
    "int": ((int,), "a whole number"),
    "int | None": ((int, type(None)), "a whole number"),
    "bool": ((bool,), "true or false"),
    "tuple[int, ...]": ((int, list, tuple), "whole numbers"),
    "tuple[str, ...]": ((str, list, tuple), "texts"),
    "tuple[str, ...] | str | None": ((str, list, tuple, type(None)), "texts or a file"),
    "dict[str, Any]": ((dict,), "a mapping"),
    "dict[str, Any] | None": ((dict, type(None)), "a mapping"),
    "DataConfig": ((dict,), "a mapping"),
    "ProbeConfig": ((dict,), "a mapping"),
}


def _checked(kind: type, content: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        known = ", ".join(item.name for item in fields(kind))
        raise CouplingError(f"{prefix.rstrip('.') or 'the file'} does not hold a mapping with the keys {known}")
    types = {item.name: _type_name(item.type) for item in fields(kind)}
    for name, value in content.items():
        if name not in types:
            raise CouplingError(
                f"there is no key {prefix}{name}{_nearest(str(name), types)}; known: {', '.join(types)}"
            )
        accepted, words = _KINDS[types[name]]
        elements = value if isinstance(value, (list, tuple)) else [value]
        wanted: tuple[type, ...] = (int,) if "int" in types[name] else (dict,) if accepted == (dict,) else (str,)
        wrong = not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted)
        if wrong or (isinstance(value, (list, tuple)) and not all(_is(element, wanted) for element in elements)):
            raise CouplingError(f"{prefix}{name} is {value!r}, but must be {words}")
    return dict(content)


def _type_name(kind: Any) -> str:
    """As it is written in the class, such as ``str | None``."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
