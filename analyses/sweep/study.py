"""A study: which checkpoints are measured, on which prompts and with which settings; every value is checked."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coupling.analyses.rl.checks import did_you_mean, has_type
from coupling.analyses.sweep.runs import is_study
from coupling.analyses.sweep.study_file import Lines, read_study_file
from coupling.choices import DETAILS, DTYPES, PRESET_NAMES
from coupling.errors import CouplingError, one_line
from coupling.settings import Settings
from coupling.untrusted import clean, quoted

if TYPE_CHECKING:
    from coupling.models.images import Images
    from coupling.models.prompts import Prompts

YAML_SUFFIXES = (".yaml", ".yml")
BOOL, INT, NUMBER, TEXT = "true or false", "a whole number", "a number", "a text"
INPUT_KEYS = {
    "prompts": "a text, a file or a list of texts",
    "images": "the name of a file, a folder, a glob or a data set, or a list of names of files",
    "column": TEXT,
    "dataset": TEXT,
    "dataset_config": TEXT,
    "split": TEXT,
    "limit": INT,
}
"""Keys that say where the inputs come from, as the options of ``coupling analyze``, and what each accepts."""
SETTING_KEYS = {
    "k": "a whole number, a share of the width such as 10%, or a list of them",
    "kind": TEXT,
    "tokens": "a token or a list of tokens",
    "fixed_token": "a token",
    "block_pairs": "a list of pairs such as [[2, 5]]",
    "engine": TEXT,
    "tol": NUMBER,
    "seed": INT,
}
"""Keys that become ``coupling.settings.Settings``."""
LOADING_KEYS = {
    "dtype": TEXT,
    "device": TEXT,
    "block_list": TEXT,
    "part": TEXT,
    "base": TEXT,
    "patch": "a row and a column such as [3, 4], or a list of them",
    "trust_remote_code": BOOL,
    "allow_pickle": BOOL,
    "random_weights": BOOL,
    "truncate": BOOL,
    "chat": BOOL,
    "special_tokens": BOOL,
    "detail": TEXT,
    "preset": TEXT,
    "baselines": BOOL,
}
"""The other arguments of ``coupling.analyze``."""
KEYS = {"models": "models", "revisions": "revisions"} | INPUT_KEYS | SETTING_KEYS | LOADING_KEYS
"""Every key of a study file."""
EXCLUDED = {
    "prompts": ("dataset",),
    "images": ("prompts", "dataset", "chat", "truncate"),
    "patch": ("tokens", "prompts", "dataset"),
    "part": ("block_list",),
    "preset": ("k", "kind", "tokens", "patch"),
}
"""Keys, and others that cannot be given beside them."""
CHOICES: dict[str, tuple[str, ...]] = {
    "dtype": DTYPES,
    "detail": DETAILS,
    "part": ("encoder", "decoder", "vision"),
    "preset": PRESET_NAMES,
}


@dataclass(frozen=True)
class Entry:
    """One model of a study, before patterns are resolved.

    Attributes:
        model: a hub id, a local folder or file, or a pattern of local folders.
        revisions: names of revisions, or patterns such as "step*"; empty for the default one.
        where: how messages name its place, such as "study.yaml, line 3: ".
    """

    model: str
    revisions: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        entries: the models.
        input_options: where the prompts or images come from; keys of ``INPUT_KEYS``.
        settings: arguments of ``coupling.analyze``.
        source: the study file, or what stands for it in messages.
    """

    entries: tuple[Entry, ...]
    input_options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = "the study"

    def declared(self) -> list[list[Any]]:
        """The models and revisions as they were given, in a form that JSON keeps."""
        return [[entry.model, list(entry.revisions)] for entry in self.entries]

    def prompts(self) -> "Prompts":
        """Read the prompts.

        Raises:
            CouplingError: if they cannot be read.
        """
        from coupling.models.prompts import dataset_prompts, read_prompts

        options, chat = self.input_options, bool(self.settings.get("chat", False))
        column, limit = options.get("column"), options.get("limit")
        if "dataset" not in options:
            return read_prompts(options.get("prompts"), column=column, chat=chat).limited(limit)
        config, split = options.get("dataset_config"), options.get("split")
        loaded = dataset_prompts(options["dataset"], config=config, split=split, column=column, limit=limit, chat=chat)
        return loaded.limited(limit)

    def images(self) -> "Images | None":
        """Read the images; None for a study of prompts, or of what is bundled.

        Raises:
            CouplingError: if they cannot be read.
        """
        if "images" not in self.input_options:
            return None
        from coupling.models.images import read_images

        options = self.input_options
        config, split = options.get("dataset_config"), options.get("split")
        column, limit = options.get("column"), options.get("limit")
        return read_images(options["images"], column=column, config=config, split=split, limit=limit)


def read_study(path: str | Path) -> Study:
    """A checked study from a YAML file.

    Raises:
        CouplingError: if the file cannot be read, or its content is wrong; the message names the line.
    """
    content, lines = read_study_file(path)
    return study_from_mapping(content, str(path), lines)


def check_study(study: str | Path | Mapping[str, Any]) -> None:
    """Check a study file or a mapping with its keys (see ``read_study``); a study's folder is checked later."""
    if isinstance(study, Mapping):
        study_from_mapping(study)
    elif not is_study(study):
        read_study(study)


def study_from_mapping(content: Any, source: str = "the study", lines: Lines | None = None) -> Study:
    """A checked study.

    Args:
        content: a mapping with the keys ``KEYS``.
        source: what messages call it.
        lines: the lines of the values, where they come from a file.

    Raises:
        CouplingError: if a key is unknown or missing, or a value cannot be used.

    Example:
        >>> study = study_from_mapping({"models": "gpt2", "revisions": ["main"], "k": [5, 10]})
        >>> study.entries[0].model, study.settings["k"]
        ('gpt2', (5, 10))
    """
    return _Reader(source, lines or {}).study(content)


class _Reader:
    """Checks the content of a study; every message names the file and the line."""

    def __init__(self, source: str, lines: Lines) -> None:
        self.source, self.lines = source, lines

    def where(self, *path: Hashable) -> str:
        """How a message begins that is about the value at a path."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.source}, line {line}: " if line is not None else f"{self.source}: "

    def study(self, content: Any) -> Study:
        if not isinstance(content, Mapping):
            raise CouplingError(f"{self.where()}a study is a mapping with the keys {', '.join(KEYS)}")
        for key, value in content.items():
            if key not in KEYS:
                hint = did_you_mean(str(key), KEYS)
                raise CouplingError(
                    f"{self.where(str(key))}there is no key {clean(key, 80)}{hint}; the known keys are "
                    f"{', '.join(KEYS)}"
                )
            if key not in ("models", "revisions") and not _accepts(str(key), value):
                raise CouplingError(f"{self.where(key)}{key} is {quoted(value)}, but must be {KEYS[key]}")
        self._check_choices(content)
        settings = self._settings(content)
        settings |= {key: content[key] for key in LOADING_KEYS if key in content}
        return Study(self._entries(content), self._input_options(content), settings, self.source)

    def _check_choices(self, content: Mapping[str, Any]) -> None:
        for key, choices in CHOICES.items():
            if key in content and content[key] not in choices:
                raise CouplingError(
                    f"{self.where(key)}{key} is {quoted(content[key])}, but must be one of {', '.join(choices)}"
                )

    def _settings(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of ``Settings``, added one by one, so that the message names the line of the one that is wrong."""
        chosen: dict[str, Any] = {}
        for key in ("kind", *(key for key in SETTING_KEYS if key != "kind")):
            if key not in content:
                continue
            value = content[key]
            chosen[key] = float(value) if key == "tol" else value
            try:
                checked = Settings(**chosen)
            except CouplingError as error:
                hint = ""
                if key == "engine" and value in ("local", "ray"):
                    hint = "; where the tasks run is an option of coupling sweep, not a part of the study"
                raise CouplingError(f"{self.where(key)}{one_line(error).replace('`', '')}{hint}") from None
            chosen[key] = getattr(checked, key)
        return chosen

    def _input_options(self, content: Mapping[str, Any]) -> dict[str, Any]:
        options = {key: content[key] for key in INPUT_KEYS if key in content}
        for key, others in EXCLUDED.items():
            other = next((other for other in others if content.get(other, False) is not False), None)
            if key in content and other is not None:
                raise CouplingError(f"{self.where(other)}{key} and {other} exclude each other")
        for key in ("dataset_config", "split"):
            if key in options and not {"dataset", "images"} & set(options):
                raise CouplingError(f"{self.where(key)}{key} applies to dataset and to images")
        if options.get("limit", 1) < 1:
            raise CouplingError(f"{self.where('limit')}limit is {options['limit']}, but must be at least 1")
        return options

    def _entries(self, content: Mapping[str, Any]) -> tuple[Entry, ...]:
        if "models" not in content:
            raise CouplingError(f"{self.where()}there is no key models; it names what is measured")
        shared = self._revisions(content["revisions"], "revisions") if "revisions" in content else ()
        models = content["models"]
        listed: Sequence[Any] = models if isinstance(models, list) else [models]
        if not listed:
            raise CouplingError(f"{self.where('models')}models is empty; give at least one hub id or folder")
        return tuple(self._entry(item, index, shared) for index, item in enumerate(listed))

    def _entry(self, item: Any, index: int, shared: tuple[str, ...]) -> Entry:
        path = ("models", index)
        own = shared
        if isinstance(item, Mapping):
            unknown = [str(key) for key in item if key not in ("model", "revisions")]
            if unknown or "model" not in item:
                what = (
                    f"there is no key {clean(unknown[0], 80)} of a model" if unknown else "this model has no key model"
                )
                raise CouplingError(f"{self.where(*path, *unknown[:1])}{what}; its keys are model and revisions")
            if "revisions" in item:
                own = self._revisions(item["revisions"], *path, "revisions")
            item = item["model"]
        if not isinstance(item, str) or not item.strip():
            raise CouplingError(
                f"{self.where(*path)}a model is {quoted(item)}, but must be a hub id, a folder or a pattern of folders"
            )
        return Entry(item, own, self.where(*path))

    def _revisions(self, value: Any, *path: Hashable) -> tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        if not listed:
            raise CouplingError(f"{self.where(*path)}revisions is empty; leave it out for the default revision")
        for index, revision in enumerate(listed):
            if not isinstance(revision, str) or not revision.strip():
                raise CouplingError(
                    f"{self.where(*path, index)}a revision is {quoted(revision)}, but must be a name or a "
                    "pattern (step*)"
                )
        return tuple(dict.fromkeys(listed))


def _accepts(key: str, value: Any) -> bool:
    """Whether a value has the type that a key needs; a number may be text, as YAML reads 1e-4."""
    expected = KEYS[key]
    simple: dict[str, tuple[type, ...]] = {BOOL: (bool,), INT: (int,), TEXT: (str,)}
    if expected in simple:
        return has_type(value, *simple[expected])
    if expected == NUMBER:
        return has_type(value, int, float) or (isinstance(value, str) and _is_number(value))
    items = value if isinstance(value, (list, tuple)) else [value]
    if key == "patch" and not (value and isinstance(items[0], (list, tuple))):
        return len(items) == 2 and all(has_type(one, int) for one in items)
    types = {"prompts": (str,), "images": (str,), "k": (int, str), "tokens": (int, str), "fixed_token": (int, str)}
    if key in types:
        single = key != "fixed_token" or not isinstance(value, (list, tuple))
        return bool(items) and single and all(has_type(item, *types[key]) for item in items)
    return isinstance(value, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(has_type(one, int) for one in pair) for pair in value
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
