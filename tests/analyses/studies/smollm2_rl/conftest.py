"""A tiny model with one token per character, and results without training."""

import pytest

from coupling.analyses.rl.warm_start import _make_model, character_tokenizer
from coupling.analyses.studies.resumable import write_result
from coupling.analyses.studies.smollm2_rl.design import planned


@pytest.fixture
def tiny():
    """The model and its tokenizer; a space is a token that it does not know."""
    tokenizer = character_tokenizer()
    return _make_model(tokenizer, 3), tokenizer


@pytest.fixture
def results(tmp_path):
    """Results of three runs, of which the second has made four updates only, and the third none."""
    out = tmp_path / "rows"
    out.mkdir()
    for plan, n in zip(planned(), (4, 2, 1), strict=False):
        columns = {"step": [0.0, 4.0, 8.0, 12.0][:n], "held_out_reward": [0.2, 0.25, 0.1, 0.4][:n]}
        columns |= {name: [None, 0.5, 0.75, 1.0][:n] for name in ("ess", "kl", "entropy")}
        columns |= {name: [0.1, None, None, 0.3][:n] for name in ("score", "excess", "mismatch_to_initial")}
        labels = {"objective": plan.objective.name, "seed": plan.seed, "ended": "at update 4", "seconds": 9.0}
        write_result(plan, out, labels | {"device": "CPU", "columns": columns})
    return out
