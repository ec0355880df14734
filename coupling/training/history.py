"""What the callback measured as the table that the picture ``dynamics`` draws."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from coupling.choices import NORMS

_SCORE = re.compile(r"coupling/score_k(\d+)_p(\d)")
QUANTITIES = ("score", "chance", "excess")
OF_TOKENS = ("line_shape_score", "expodistance", "residual_growth")


def history_table(history: Sequence[Mapping[str, float]], model: str = "model", seed: int = 0) -> pd.DataFrame:
    """The table of ``CouplingCallback.history``, or of a trainer's ``state.log_history``.

    Args:
        history: one dictionary per measurement, with ``step``; dictionaries without coupling are left out.
        model: the name of the line in the picture.
        seed: the number of the seed; join the tables of several seeds with ``pandas.concat``.

    Returns:
        One row per step, K and p, with the columns ``model``, ``seed``, ``step``, ``k``, ``norm``, ``score``,
        ``chance``, ``excess``, ``line_shape_score``, ``expodistance`` and ``residual_growth``.

    Example:
        >>> history = [{"step": 0, "coupling/score_k5_p2": 0.02, "coupling/chance_k5_p2": 0.02}]
        >>> history_table(history)[["step", "k", "norm", "score"]].values.tolist()
        [[0.0, 5.0, 2.0, 0.02]]
    """
    rows = []
    for measured in history:
        ks = sorted({int(match[1]) for name in measured if (match := _SCORE.fullmatch(name))})
        for k in ks:
            for norm in NORMS:
                values = {name: measured.get(f"coupling/{name}_k{k}_p{norm}") for name in QUANTITIES}
                if values["score"] is None:
                    continue
                of_tokens = {name: measured.get(f"coupling/{name}") for name in OF_TOKENS}
                place = {"model": model, "seed": seed, "step": int(measured["step"]), "k": k, "norm": norm}
                rows.append(place | values | of_tokens)
    columns = ["model", "seed", "step", "k", "norm", *QUANTITIES, *OF_TOKENS]
    return pd.DataFrame(rows, columns=columns)
