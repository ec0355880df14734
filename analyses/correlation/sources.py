"""Where benchmark scores may come from; that a source is there is checked before anything heavy is imported."""

from pathlib import Path
from typing import Literal

from coupling.errors import CouplingError
from coupling.untrusted import clean, expanded

LEADERBOARD = "leaderboard"
"""The name of the bundled table."""
Source = Literal["leaderboard", "harness", "csv", "hub"]


def source_of(name: str) -> tuple[Source, Path]:
    """What a source of scores is, and its path.

    Args:
        name: see ``coupling.analyses.correlation.benchmark_scores.read_scores``.

    Raises:
        CouplingError: if there is nothing of this name.

    Example:
        >>> source_of("leaderboard")[0]
        'leaderboard'
    """
    path = expanded(name)
    if name == LEADERBOARD:
        return "leaderboard", path
    if path.is_dir() or (path.exists() and path.suffix.lower() == ".json"):
        return "harness", path
    if path.exists():
        return "csv", path
    if path.suffix.lower() in (".csv", ".json"):
        raise CouplingError(f"cannot read the scores {clean(path, 300)}: No such file or directory")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return "hub", path
    raise CouplingError(
        f"there are no scores in {clean(name, 300)}; give a CSV file, lm-evaluation-harness results, {LEADERBOARD}, or "
        "the id of a data set on the hub"
    )
