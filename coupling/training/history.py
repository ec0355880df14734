"""What the callback measured as the table that the picture ``dynamics`` draws."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from coupling.choices import CALIBRATED, NORMS

_SCORE = re.compile(r"coupling/score_k(\d+|\d+(?:\.\d+)?pct)_p(\d)")
QUANTITIES = ("score", "chance", "excess")
OF_TOKENS = ("line_shape_score", "expodistance", "residual_growth")


def history_table(history: Sequence[Mapping[str, float]], model: str = "model", seed: int = 0) -> pd.DataFrame:
    """The table of ``CouplingCallback.history``, or of a trainer's ``state.log_history``.

    Args:
        history: one dictionary per measurement, with ``step``; dictionaries without coupling are left out.
        model: the name of the line in the picture.
        seed: the number of the seed; join the tables of several seeds with ``pandas.concat``.

    Returns:
        One row per step, K and p, with the columns ``model``, ``seed``, ``step``, ``k``, ``k_label`` (how K was asked
        for, such as "10%"), ``norm``, ``score``, ``chance``, ``excess``, the calibrated measures such as
        ``diagonal_share`` (they do not depend on p), ``line_shape_score``, ``expodistance`` and ``residual_growth``.

    Example:
        >>> history = [{"step": 0, "coupling/score_k5_p2": 0.02, "coupling/chance_k5_p2": 0.02}]
        >>> history_table(history)[["step", "k", "norm", "score"]].values.tolist()
        [[0.0, 5.0, 2.0, 0.02]]
    """
    rows = []
    for measured in history:
        keys = {match[1]: None for name in measured if (match := _SCORE.fullmatch(name))}
        for key in sorted(keys, key=lambda key: _number(key, measured)):
            label = key.replace("pct", "%")
            for norm in NORMS:
                values = {name: measured.get(f"coupling/{name}_k{key}_p{norm}") for name in QUANTITIES}
                if values["score"] is None:
                    continue
                of_tokens = {name: measured.get(f"coupling/{name}") for name in OF_TOKENS}
                of_pairs = {item.name: measured.get(f"coupling/{item.name}_k{key}") for item in CALIBRATED}
                place = {"model": model, "seed": seed, "step": int(measured["step"])}
                place |= {"k": _number(key, measured), "k_label": label, "norm": norm}
                rows.append(place | values | of_pairs | of_tokens)
    names = [measure.name for measure in CALIBRATED]
    columns = ["model", "seed", "step", "k", "k_label", "norm", *QUANTITIES, *names, *OF_TOKENS]
    return pd.DataFrame(rows, columns=columns)


def _number(key: str, measured: Mapping[str, float]) -> int:
    """The number of singular vectors of a logged K; a share of the width was logged beside the number that it is."""
    return int(measured[f"coupling/k{key}"] if key.endswith("pct") else key)
