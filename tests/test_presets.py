"""Presets: what they set, and that nothing else may be asked for."""

import pytest

import coupling
from coupling.choices import DEFAULT_K, PRESET_NAMES
from coupling.errors import CouplingError
from coupling.presets import PRESETS, preset_settings
from coupling.settings import Settings


def test_every_preset_is_known_and_sound():
    assert set(PRESETS) == set(PRESET_NAMES)
    for name in PRESETS:
        Settings(**preset_settings(name))


def test_the_paper_is_a_tenth_of_the_width_at_the_last_token_across_depth():
    run = coupling.analyze(prompts=["import os"], preset="paper")
    assert run.k.values.tolist() == [12]  # d = 128
    assert (run.attrs["kind"], run.attrs["preset"]) == ("depth", "paper")
    assert run.measured_token.item() == run.n_tokens.item() - 1
    same = coupling.analyze(prompts=["import os"], k=12)
    assert coupling.score(run, "10%", 1) == coupling.score(same, 12, 1)


def test_what_a_preset_sets_cannot_be_given_otherwise():
    assert preset_settings("paper", k="10%", tokens="last") == preset_settings("paper", k=DEFAULT_K)
    with pytest.raises(CouplingError, match="`preset` paper sets `k` to 10%, and 7 was given"):
        preset_settings("paper", k=7)
    with pytest.raises(CouplingError, match="sets `kind` to depth, and self was given"):
        preset_settings("paper", kind="self")
    with pytest.raises(CouplingError, match="`preset` is 'nature', but must be one of paper"):
        preset_settings("nature")
