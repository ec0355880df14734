"""Jacobians that threads make side by side are those made one after the other."""

import threading

import pytest
import torch

import coupling
from coupling import side_by_side
from coupling.errors import CouplingError
from coupling.factory import Factory, compared, kept_of
from coupling.plan import Plan
from coupling.resources import Resources
from coupling.settings import Settings
from coupling.side_by_side import make_side_by_side
from tests.helpers import make_ids, make_model


@pytest.fixture(autouse=True)
def threads():
    """Two threads, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def factory_of(model, resources=None, **options):
    recording = coupling.record(model, {"input_ids": make_ids()})
    settings = Settings(**{"k": 4} | options)
    plan = Plan.of(settings, n_tokens=recording.n_tokens, blocks=recording.numbers, width=recording.width)
    factory = Factory(recording, plan, settings, resources or Resources())
    return factory, kept_of(factory, compared(list(plan.groups())))


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral", "bert"])
def test_the_numbers_are_those_made_one_after_the_other(name):
    model = make_model(name)
    factory, counts = factory_of(model)
    implementation = model.config._attn_implementation
    assert sum(make_side_by_side(factory, counts)) == len(factory.ready) == 3
    assert torch.get_num_threads() == 2
    assert model.config._attn_implementation == implementation
    for key, count in counts.items():
        ready, replay = factory.ready[key]
        alone, other = factory.make(key, n_compared=count)
        assert replay == other == "token-local"
        assert torch.allclose(ready.operator.to_dense(), alone.operator.to_dense(), rtol=1e-5, atol=1e-6)
        assert torch.allclose(ready.triplets.values, alone.triplets.values, rtol=1e-6)
    assert sum(make_side_by_side(factory, counts)) == 0  # all are ready


def test_two_measurements_are_equal_bit_for_bit(monkeypatch):
    model, ids = make_model("gpt2"), make_ids()
    sizes = []
    workers = side_by_side._workers
    monkeypatch.setattr(side_by_side, "_workers", lambda *given: sizes.append(workers(*given)) or sizes[-1])
    first, second = (coupling.measure(model, ids, 4) for _ in range(2))
    assert sizes == [2, 2]
    assert first.drop_attrs().equals(second.drop_attrs())


def test_several_are_made_at_a_time(monkeypatch):
    """Each of two threads waits until the other has begun."""
    factory, counts = factory_of(make_model("gpt2"))
    together, make = threading.Barrier(2, timeout=60), factory.make
    names = []

    def waiting(key, **options):
        names.append(threading.current_thread().name)
        if len(names) <= 2:
            together.wait()
        assert torch.get_num_threads() == 1
        return make(key, **options)

    monkeypatch.setattr(factory, "make", waiting)
    assert sum(make_side_by_side(factory, counts)) == 3
    assert all(name.startswith("coupling") for name in names)


def test_an_error_names_the_block_and_stops_the_rest():
    model = make_model("gpt2")
    factory, counts = factory_of(model)
    with torch.no_grad():
        model.h[1].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(CouplingError, match="block 1, token 10"):
        list(make_side_by_side(factory, counts))
    assert torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("coupling")]


def test_where_it_is_not_done():
    model = make_model("gpt2")
    torch.set_num_threads(1)
    factory, counts = factory_of(model)
    assert list(make_side_by_side(factory, counts)) == []
    torch.set_num_threads(2)
    assert list(make_side_by_side(*factory_of(model, engine="matrix-free"))) == []
    row = 48 * 32 * 4
    little = Resources(memory_budget=4 * row * side_by_side.FEWEST_ROWS)
    assert side_by_side._workers(factory, 3) == 2
    assert side_by_side._workers(factory, 1) == 1
    assert side_by_side._workers(factory_of(model, little)[0], 3) == 1
    own = coupling.record(make_model("gpt2"), {"input_ids": make_ids()})
    own.locality.failed.update((block, "token-local") for block in range(3))
    assert side_by_side._workers(Factory(own, factory.plan, factory.settings), 3) == 1
