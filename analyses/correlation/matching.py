"""Which run is which row of a scores table.

Model names are matched exactly, then by what is left without organization, case and punctuation; never by guessing.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coupling.errors import CouplingError


@dataclass
class Join:
    """What was matched, and what was left out with the reason.

    Attributes:
        pairs: for each run that was matched (by its place) the model's name in the scores.
        how: for each of them, "alias", "exact" or "folded".
        left_out: (name, reason) of every run and every score that was not matched.
    """

    pairs: dict[int, str] = field(default_factory=dict)
    how: dict[int, str] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def fold(name: str) -> str:
    """A model's name without organization or folder, case and punctuation.

    Punctuation is folded into single hyphens rather than dropped, so that Llama-2-7b and Llama-27b stay apart.

    Args:
        name: such as "meta-llama/Llama-2-7b_hf".
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[\W_]+", "-", last.casefold()).strip("-")


def parse_aliases(aliases: Sequence[str]) -> dict[str, str]:
    """A=B, a run's model or folder and its name in the scores.

    Raises:
        CouplingError: if one has no equals sign or an empty side, or a name is given twice.
    """
    parsed: dict[str, str] = {}
    for alias in aliases:
        run, equals, score = (part.strip() for part in alias.partition("="))
        if not (run and equals and score):
            raise CouplingError(f"--alias {alias!r} is not of the form A=B, a run's model and its name in the scores")
        if parsed.get(run, score) != score:
            raise CouplingError(f"--alias names {run} twice, as {parsed[run]} and as {score}")
        parsed[run] = score
    return parsed


def join(
    runs: Sequence[str], scores: Sequence[str], aliases: Mapping[str, str] | None = None,
    folders: Sequence[str] | None = None,
) -> Join:  # fmt: skip
    """Match runs and scores on the model.

    In this order: an alias; the same name; the same folded name. A score that an earlier rule took is taken.

    Args:
        runs: the models of the runs.
        scores: the models of the scores table.
        aliases: from a run's model or folder to a score's model.
        folders: the runs' folders, by which an alias may also name them, and which tell two runs of one model apart.

    Raises:
        CouplingError: if an alias names nothing that is there, or a match is ambiguous; the candidates are listed.
    """
    aliases, labels = dict(aliases or {}), list(folders or runs)
    result = Join()
    rest = _join_aliases(runs, scores, aliases, labels, result)
    for how, key in (("exact", str), ("folded", fold)):
        taken = set(result.pairs.values())
        by_key: dict[str, list[str]] = {}
        for score in scores:
            by_key.setdefault(key(score), []).append(score)
        claims: dict[str, list[int]] = {}
        for run in rest:
            found = by_key.get(key(runs[run]), [])
            free = [score for score in found if score not in taken]
            if len(free) > 1 or (free and len(found) > 1):  # one that another run took may be the right one
                raise CouplingError(
                    f"{runs[run]} could be {_listed(found)} of the scores; say which with --alias '{runs[run]}=...'"
                )
            if free:
                claims.setdefault(free[0], []).append(run)
        for score, claimants in claims.items():
            if len(claimants) > 1:
                raise CouplingError(
                    f"{score} of the scores could be {_listed([_label(runs[i], labels[i]) for i in claimants])}; leave "
                    f"all but one away, or say which with --alias '{labels[claimants[0]]}={score}'"
                )
            result.pairs[claimants[0]], result.how[claimants[0]] = score, how
        rest = [run for run in rest if run not in result.pairs]
    taken = set(result.pairs.values())
    for run in rest:
        result.left_out.append((_label(runs[run], labels[run]), _why(runs[run], scores, taken)))
    result.left_out += [(score, "no run of this model") for score in scores if score not in taken]
    return result


def _join_aliases(
    runs: Sequence[str], scores: Sequence[str], aliases: Mapping[str, str], labels: Sequence[str], result: Join
) -> list[int]:
    """Settle what the aliases name; the runs that are left."""
    for given, score in aliases.items():
        if score not in scores:
            near = difflib.get_close_matches(score, scores, 3, 0.5)
            hint = f"; near it are {_listed(near)}" if near else ""
            raise CouplingError(f"--alias {given}={score}: the scores have no model {score}{hint}")
        named = [at for at, run in enumerate(runs) if given in (run, labels[at])]
        if not named:
            raise CouplingError(f"--alias {given}={score}: there is no run of {given}; there are {_listed(list(runs))}")
        if len(named) > 1:
            raise CouplingError(
                f"--alias {given}={score} names {len(named)} runs: {_listed([labels[at] for at in named])}; "
                "name one by its folder"
            )
        if score in result.pairs.values():
            raise CouplingError(f"two aliases name {score}; a model's scores belong to one run")
        result.pairs[named[0]], result.how[named[0]] = score, "alias"
    return [at for at in range(len(runs)) if at not in result.pairs]


def _why(run: str, scores: Sequence[str], taken: set[str]) -> str:
    same = [score for score in scores if fold(score) == fold(run)]
    if same and set(same) <= taken:
        return f"{same[0]} of the scores belongs to another run"
    near = difflib.get_close_matches(fold(run), [fold(score) for score in scores], 3, 0.7)
    names = [score for score in scores if fold(score) in near][:3]
    return "no scores for this model" + (f" (near it: {_listed(names)}; --alias would join them)" if names else "")


def _label(run: str, folder: str) -> str:
    return run if run == folder else f"{run} ({folder})"


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return ", ".join(shown[:-1]) + (" or " if len(shown) > 1 else "") + shown[-1]
