"""Which run belongs to which row of a table of benchmark scores.

Model names are matched exactly, then without organization, case and punctuation; a match is never guessed.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from coupling.errors import CouplingError

NO_RUN = "no run of this model"
"""Why a row of scores is left out."""


@dataclass
class Join:
    """What was matched, and what was left out with the reason.

    Attributes:
        pairs: from the index of each run that was matched to the model's name in the scores.
        how: from the same index to "alias", "exact" or "folded".
        left_out: (name, reason) of every run and every row of scores that was not matched.
    """

    pairs: dict[int, str] = field(default_factory=dict)
    how: dict[int, str] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def fold(name: str) -> str:
    """A model's name without organization or folder, case and punctuation.

    Punctuation is folded into single hyphens instead of being dropped, so that Llama-2-7b and Llama-27b stay apart.

    Args:
        name: such as "meta-llama/Llama-2-7b_hf".

    Example:
        >>> fold("meta-llama/Llama-2-7b_hf")
        'llama-2-7b-hf'
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[\W_]+", "-", last.casefold()).strip("-")


def parse_aliases(aliases: Sequence[str]) -> dict[str, str]:
    """Parse aliases of the form A=B: a run's model or folder, and its name in the scores.

    Raises:
        CouplingError: if one has no equals sign or an empty side, or a name is given twice.

    Example:
        >>> parse_aliases(["runs/1=openai-community/gpt2"])
        {'runs/1': 'openai-community/gpt2'}
    """
    parsed: dict[str, str] = {}
    for alias in aliases:
        run, equals, score = (part.strip() for part in alias.partition("="))
        if not (run and equals and score):
            raise CouplingError(f"the alias {alias!r} is not of the form A=B, a run's model and its name in the scores")
        if parsed.get(run, score) != score:
            raise CouplingError(f"the aliases name {run} twice, as {parsed[run]} and as {score}")
        parsed[run] = score
    return parsed


def join(
    runs: Sequence[str],
    scores: Sequence[str],
    aliases: Mapping[str, str] | None = None,
    folders: Sequence[str] | None = None,
) -> Join:
    """Match runs and scores on the model.

    The rules apply in this order: an alias; the same name; the same folded name. A row of scores that an earlier rule
    gave to a run is not available to later rules.

    Args:
        runs: the models of the runs.
        scores: the models of the table of scores.
        aliases: from a run's model or folder to its model in the scores.
        folders: the runs' folders; an alias may name a run by its folder, and they tell two runs of one model apart.

    Raises:
        CouplingError: if an alias names a run or a model that does not exist, or a match is ambiguous; the message
            lists the candidates.

    Example:
        >>> join(["gpt2", "pythia_160M"], ["EleutherAI/pythia-160m", "gpt2"]).pairs
        {0: 'gpt2', 1: 'EleutherAI/pythia-160m'}
    """
    folders = list(folders or runs)
    result = Join()
    _match_aliases(runs, scores, dict(aliases or {}), folders, result)
    _match_names(runs, scores, folders, "exact", str, result)
    _match_names(runs, scores, folders, "folded", fold, result)
    matched = set(result.pairs.values())
    for index, run in enumerate(runs):
        if index not in result.pairs:
            result.left_out.append((_label(run, folders[index]), _why_unmatched(run, scores, matched)))
    result.left_out += [(score, NO_RUN) for score in scores if score not in matched]
    return result


def _match_aliases(
    runs: Sequence[str], scores: Sequence[str], aliases: Mapping[str, str], folders: Sequence[str], result: Join
) -> None:
    """Add the pairs that the aliases name to the result."""
    for run_name, score in aliases.items():
        if score not in scores:
            similar = difflib.get_close_matches(score, scores, 3, 0.5)
            hint = f"; similar names are {_listed(similar)}" if similar else ""
            raise CouplingError(f"the alias {run_name}={score}: the scores have no model {score}{hint}")
        named = [index for index, run in enumerate(runs) if run_name in (run, folders[index])]
        if not named:
            raise CouplingError(
                f"the alias {run_name}={score}: no run is of {run_name}; the runs are of {_listed(list(runs))}"
            )
        if len(named) > 1:
            raise CouplingError(
                f"the alias {run_name}={score} names {len(named)} runs: {_listed([folders[i] for i in named])}; "
                "name one by its folder"
            )
        if score in result.pairs.values():
            raise CouplingError(f"two aliases name {score}; a model's scores belong to one run")
        result.pairs[named[0]], result.how[named[0]] = score, "alias"


def _match_names(
    runs: Sequence[str],
    scores: Sequence[str],
    folders: Sequence[str],
    how: str,
    key: Callable[[str], str],
    result: Join,
) -> None:
    """Add the pairs whose names have the same key to the result."""
    matched = set(result.pairs.values())
    scores_by_key: dict[str, list[str]] = {}
    for score in scores:
        scores_by_key.setdefault(key(score), []).append(score)
    claims: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if index in result.pairs:
            continue
        candidates = scores_by_key.get(key(run), [])
        free = [score for score in candidates if score not in matched]
        # If one of several candidates already belongs to another run, that one may have been the right one.
        if len(free) > 1 or (free and len(candidates) > 1):
            raise CouplingError(
                f"{run} could be {_listed(candidates)} of the scores; settle it with an alias '{run}=...' (`aliases`)"
            )
        if free:
            claims.setdefault(free[0], []).append(index)
    for score, claimants in claims.items():
        if len(claimants) > 1:
            raise CouplingError(
                f"{score} of the scores could be {_listed([_label(runs[i], folders[i]) for i in claimants])}; leave "
                f"out all but one, or settle it with an alias '{folders[claimants[0]]}={score}' (`aliases`)"
            )
        result.pairs[claimants[0]], result.how[claimants[0]] = score, how


def _why_unmatched(run: str, scores: Sequence[str], matched: set[str]) -> str:
    same = [score for score in scores if fold(score) == fold(run)]
    if same and set(same) <= matched:
        return f"{same[0]} of the scores belongs to another run"
    similar = similar_names(run, [score for score in scores if score not in matched])
    hint = f" (similar names: {_listed(similar)}; an alias would join them)" if similar else ""
    return f"no scores for this model{hint}"


def similar_names(name: str, others: Sequence[str], most: int = 3) -> list[str]:
    """Names that are near another one: those that contain it or that it contains, then those of similar spelling.

    Args:
        name: a model's name.
        others: the names among which near ones are looked for.
        most: how many are listed.

    Example:
        >>> similar_names("org/SmolLM2-135M-Instruct.Q4_1.gguf", ["gpt2", "SmolLM2-135M"])
        ['SmolLM2-135M']
    """
    folded = fold(name)
    by_fold: dict[str, list[str]] = {}
    for other in others:
        by_fold.setdefault(fold(other), []).append(other)
    within = [key for key in by_fold if len(key) > 2 and (f"-{key}-" in f"-{folded}-" or f"-{folded}-" in f"-{key}-")]
    within.sort(key=lambda key: abs(len(key) - len(folded)))
    close = difflib.get_close_matches(folded, list(by_fold), most, 0.55)
    return [other for key in dict.fromkeys((*within, *close)) for other in by_fold[key]][:most]


def _label(run: str, folder: str) -> str:
    return run if run == folder else f"{run} ({folder})"


def _listed(names: Sequence[str], most: int = 8) -> str:
    """Names as a list in words, such as "a, b or c"."""
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return ", ".join(shown[:-1]) + (" or " if len(shown) > 1 else "") + shown[-1]
