"""Jacobians that are made ahead are those that a factory makes one by one."""

import pytest
import torch

import coupling
from coupling.factory import Factory, make_ahead
from coupling.measurement import plan_of
from coupling.settings import Settings
from tests.helpers import make_ids, make_model


@pytest.mark.parametrize("kind", ["depth", "self", "context-input"])
def test_what_is_made_ahead_is_what_is_made_alone(kind):
    model = make_model("llama")
    settings = Settings(3, kind)
    recordings = [coupling.record(model, {"input_ids": make_ids(seed)}) for seed in range(2)]
    plan = plan_of(recordings[0], settings)
    ahead = [Factory(recording, plan, settings) for recording in recordings]
    keys = {key for group in plan.groups() for key in group.made}
    made = sum(make_ahead(ahead, plan.groups()))
    assert made == sum(len(factory.ready) for factory in ahead) > len(keys)
    for factory, recording in zip(ahead, recordings, strict=True):
        alone = Factory(recording, plan, settings)
        for key in factory.ready:
            one, other = factory(key, n_compared=3).triplets, alone(key, n_compared=3).triplets
            assert torch.allclose(one.values, other.values, rtol=1e-5)
            assert torch.allclose(one.left, other.left, atol=1e-3)
        assert factory.made.replays == alone.made.replays
        assert factory.made.engines == {"dense"}


def test_matrix_free_jacobians_are_not_made_ahead():
    model = make_model("llama")
    settings = Settings(3, engine="matrix-free")
    recording = coupling.record(model, {"input_ids": make_ids()})
    plan = plan_of(recording, settings)
    factories = [Factory(recording, plan, settings)] * 2
    assert list(make_ahead(factories, plan.groups())) == []


def test_all_tokens_of_a_prompt_are_made_in_passes_too():
    """As many tokens as keys would be ambiguous in one pass."""
    model = make_model("llama")
    recording = coupling.record(model, {"input_ids": make_ids()})
    settings = Settings(3, "self")
    plan = plan_of(recording, settings)
    factory = Factory(recording, plan, settings)
    assert sum(make_ahead([factory], plan.groups())) == plan.jacobian_count() == len(factory.ready)
