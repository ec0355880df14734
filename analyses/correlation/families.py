"""Families of models, from their names and architectures."""

import re
from collections.abc import Sequence

from coupling.analyses.correlation.matching import fold

SIZE_IN_NAME = re.compile(r"[-_ ](?:(?:\d+x)?\d+(?:[._]\d+)?[mbt]\d?|small|medium|large|xl|base|tiny|mini)(?=[-_ ]|$)")
"""How a model's name states its size: -160m, -8x7b, -1_6b, -1b1, -large."""


def families_of(names: Sequence[str], architectures: Sequence[str]) -> list[str]:
    """The family of each model: the part of its name before the size.

    ``EleutherAI/pythia-160m-deduped`` belongs to pythia, ``Qwen1.5-0.5B`` to qwen1.5, ``gpt2-large`` to gpt2, and so
    does ``gpt2`` beside it. A name without a size belongs to the family of its architecture where that is known, and
    is a family by itself otherwise. A fine-tune under another name, such as Vicuna of Llama 2, counts as a family by
    itself; a column ``family`` of the scores corrects that.

    Args:
        names: the models' names.
        architectures: their classes, such as ``LlamaModel``; empty where not known.

    Example:
        >>> families_of(["openai-community/gpt2", "gpt2-large", "microsoft/phi-2"], ["GPT2Model"] * 2 + ["PhiModel"])
        ['gpt2', 'gpt2', 'PhiModel']
    """
    prefixes = {prefix for name in names if (prefix := family_of(name))}
    families = []
    for name, architecture in zip(names, architectures, strict=True):
        last = _last_part(name)
        families.append(family_of(name) or (last if last in prefixes else architecture or fold(name)))
    return families


def family_of(name: str) -> str:
    """The part before the size in a model's name; empty if the name states no size.

    Example:
        >>> family_of("mistralai/Mixtral-8x7B-v0.1")
        'mixtral'
    """
    last = _last_part(name)
    size = SIZE_IN_NAME.search(last)
    return last[: size.start()] if size is not None else ""


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1].casefold()
