"""Where the names place a run."""

import pytest

from coupling.analyses.dynamics.names import Place, place_of
from coupling.errors import CouplingError


@pytest.mark.parametrize(
    ("model", "revision", "folder", "expected"),
    [
        ("EleutherAI/pythia-160m", "step1000", "runs/a", Place("EleutherAI/pythia-160m", 0, 1000)),
        ("EleutherAI/pythia-160m-seed3", "step0", "runs/a", Place("EleutherAI/pythia-160m", 3, 0)),
        ("allenai/OLMo-2-1B", "stage1-step140000-tokens294B", "a", Place("allenai/OLMo-2-1B", 0, 140000)),
        ("/x/small/checkpoint-1000", "", "runs/a", Place("small", 0, 1000)),
        ("/x/small-seed2/checkpoint-1000", "", "runs/a", Place("small", 2, 1000)),
        ("/x/seed_4/global_step1000", "", "runs/small-seed4-step1000", Place("small-seed4-step1000", 4, 1000)),
        ("/x/small/iter_0001000", "", "runs/a", Place("small", 0, 1000)),
        ("/x/small/epoch_3", "", "runs/a", Place("small", 0, 3)),
        ("/x/small-step20", "", "runs/a", Place("small", 0, 20)),
        ("EleutherAI/pythia-160m", "", "runs/step1000", Place("EleutherAI/pythia-160m", 0, 1000)),
        ("GPT2LMHeadModel", "", "runs/mine-seed1-step8", Place("mine", 1, 8)),
    ],
)
def test_model_seed_and_step(model, revision, folder, expected):
    if expected.model == "small-seed4-step1000":  # the folder above is nothing but a seed
        expected = Place("small-step1000", 4, 1000)
    assert place_of({"model": model, "revision": revision}, folder) == expected


def test_an_untrained_model_is_step_0():
    attributes = {"model": "EleutherAI/pythia-160m", "revision": "", "weights": "random"}
    assert place_of(attributes, "runs/a") == Place("EleutherAI/pythia-160m", 0, 0)
    attributes = {"model": "/x/small/checkpoint-1000", "weights": "random"}
    assert place_of(attributes, "runs/a") == Place("small", 0, 0)


def test_a_pattern_of_ones_own():
    place = place_of({"model": "/x/small/tokens-5B"}, "a", step_pattern=r"tokens-(\d+)B")
    assert place == Place("small", 0, 5)
    assert place.training == "small, seed 0"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(None, "no training step is in the names"), ("(", "is not a regular expression"), (r"\d+", "has no group")],
)
def test_refusals(pattern, message):
    with pytest.raises(CouplingError, match=message):
        place_of({"model": "gpt2"}, "runs/a", step_pattern=pattern)
