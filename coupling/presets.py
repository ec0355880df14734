"""Presets: settings that belong together under a name; imports no torch."""

from dataclasses import dataclass
from typing import Any

from coupling.choices import DEFAULT_K, PresetName
from coupling.errors import CouplingError
from coupling.shares import normalize_k


@dataclass(frozen=True)
class Preset:
    """Settings that belong together.

    Attributes:
        settings: arguments of ``coupling.analyze``.
        norm: p of the score that the preset is about.
        meaning: what it stands for, in words.
    """

    settings: dict[str, Any]
    norm: int
    meaning: str


PRESETS: dict[PresetName, Preset] = {
    "paper": Preset(
        {"k": ("10%",), "kind": "depth", "tokens": "last"},
        norm=1,
        meaning="in all likelihood what the paper's Figure 1(a) shows: K = 10% of the width, p = 1, absolute values, "
        "the last token, across depth",
    ),
}


def preset_settings(name: PresetName, *, k: Any = DEFAULT_K, kind: str = "depth", tokens: Any = None) -> dict[str, Any]:
    """The settings of a preset, after checking that nothing else was asked for.

    Args:
        name: a preset.
        k: the K that was given; the default stands for none.
        kind: the kind that was given.
        tokens: the tokens that were given.

    Raises:
        CouplingError: if there is no such preset, or one of its settings was given as well.

    Example:
        >>> preset_settings("paper")
        {'k': ('10%',), 'kind': 'depth', 'tokens': 'last'}
    """
    if name not in PRESETS:
        raise CouplingError(f"`preset` is {name!r}, but must be one of {', '.join(PRESETS)}")
    settings = PRESETS[name].settings
    given = {"k": normalize_k(k), "kind": kind, "tokens": tokens}
    unsaid = {"k": DEFAULT_K, "kind": "depth", "tokens": None}
    for key, value in given.items():
        if value not in (unsaid[key], settings[key]):
            raise CouplingError(
                f"`preset` {name} sets `{key}` to {_plain(settings[key])}, and {_plain(value)} was given; give one of "
                "them"
            )
    return dict(settings)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
