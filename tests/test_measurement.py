"""Runs against the definition applied by hand to float64 autograd Jacobians; seeds; refusals."""

import numpy as np
import pytest
import torch

import coupling
from tests.helpers import TOKENS, make_ids, make_model, reference_jacobian


@pytest.fixture(scope="module", params=["llama", "bert", "bloom"])
def model(request):
    return make_model(request.param)


def reference(model, ids, pairs):
    """Float64 Jacobians by (block, source, target)."""
    return {pair: reference_jacobian(model, ids, *pair).numpy() for pair in pairs}


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
def test_depth_is_the_definition(model, engine):
    ids, last = make_ids(), TOKENS - 1
    run = coupling.measure(model, ids, k=(2, 4), engine=engine, tol=1e-6)
    jacobians = reference(model, ids, [(block, last, last) for block in range(3)])
    for a in range(3):
        for b in range(3):
            for k in (2, 4):
                for norm in (1, 2):
                    at = {"k": k, "norm": norm, "block": a, "other_block": b}
                    ja, jb = jacobians[a, last, last], jacobians[b, last, last]
                    for name, flags in {
                        "mismatch": {}, "mismatch_signed": {"signed": True}, "mismatch_swapped": {"swapped": True},
                    }.items():  # fmt: skip
                        expected = coupling.pair_mismatch(ja, jb, k, norm=norm, **flags)
                        assert float(run[name].sel(at).item()) == pytest.approx(expected, abs=2e-4)
    values = np.stack([np.linalg.svd(jacobians[block, last, last], compute_uv=False)[:4] for block in range(3)])
    assert (np.abs(run.singular_values[0] - values) <= run.singular_value_error[0]).all()


def test_self_is_the_definition(model):
    ids = make_ids()
    run = coupling.measure(model, ids, k=3, kind="self", tokens=(2, 5, "last"))
    jacobians = reference(model, ids, [(1, t, t) for t in (2, 5, TOKENS - 1)])
    for s in (2, 5, TOKENS - 1):
        for t in (2, 5, TOKENS - 1):
            measured = run.mismatch.sel(k=3, norm=2, block=1, token=s, other_token=t).item()
            expected = coupling.pair_mismatch(jacobians[1, s, s], jacobians[1, t, t], 3)
            assert measured == pytest.approx(expected, abs=2e-4)
    assert np.isnan(run.mismatch.sel(token=3)).all()


def test_self_of_two_blocks_is_the_definition():
    model, ids = make_model("llama"), make_ids()
    run = coupling.measure(model, ids, k=3, kind="self", tokens=(2, 5), block_pairs=[(0, 2)])
    jacobians = reference(model, ids, [(0, 2, 2), (2, 5, 5)])
    expected = coupling.pair_mismatch(jacobians[0, 2, 2], jacobians[2, 5, 5], 3)
    assert run.mismatch.sel(k=3, norm=2, token=2, other_token=5).item() == pytest.approx(expected, abs=2e-4)
    assert run.block.values.tolist() == [0]
    assert run.other_block.values.tolist() == [2]


@pytest.mark.parametrize(("kind", "fixed"), [("context-input", 1), ("context-output", 8)])
def test_context_is_the_definition(model, kind, fixed):
    ids, tokens = make_ids(), (3, 6)
    run = coupling.measure(model, ids, k=3, kind=kind, fixed_token=fixed, token=tokens)
    ends = [(fixed, t) if kind == "context-input" else (t, fixed) for t in tokens]
    jacobians = reference(model, ids, [(2, *end) for end in ends])
    expected = coupling.pair_mismatch(jacobians[2, *ends[0]], jacobians[2, *ends[1]], 3)
    measured = run.mismatch.sel(k=3, norm=2, block=2, token=3, other_token=6).item()
    assert measured == pytest.approx(expected, abs=2e-4)


def test_same_seed_same_bytes():
    from coupling.netcdf import to_bytes

    model, ids = make_model("llama"), make_ids()
    runs = [coupling.measure(model, ids, k=4, seed=5, engine="matrix-free") for _ in range(2)]
    assert to_bytes(runs[0]) == to_bytes(runs[1])


def test_a_parameter_without_axes_is_hashed():
    model = make_model("llama")
    before = coupling.measure(model, make_ids(), k=2).attrs["weights_hash"]
    model.register_parameter("scale", torch.nn.Parameter(torch.tensor(1.0)))
    assert coupling.measure(model, make_ids(), k=2).attrs["weights_hash"] != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 33}, "K is 33, but this model's residual stream has d = 32"),
        ({"k": 0}, "K is 0, but must be at least 1"),
        ({"k": ()}, "`k` is empty"),
        ({"tokens": TOKENS}, "token 11 is out of range: there are 11 tokens"),
        ({"tokens": -TOKENS - 1}, "out of range"),
        ({"tokens": "first"}, "'first' is not an index"),
        ({"kind": "width"}, "`kind` is 'width'"),
        ({"kind": "self", "tokens": 3}, "only 1 can be compared"),
        ({"kind": "self", "block_pairs": [(0, 3)]}, "no block 3"),
        ({"block_pairs": [(0, 1)]}, "`block_pairs` applies to kind self"),
        ({"fixed_token": 0}, "`fixed_token` applies"),
        ({"engine": "svd"}, "`engine` is 'svd'"),
        ({"tol": 0}, "`tol` is 0"),
        ({"seed": 2**63}, "`seed` is"),
        ({"seed": -1}, "`seed` is -1"),
        ({"block_list": "model.layer"}, "no list of modules named 'model.layer'; this model's lists: layers"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(coupling.CouplingError, match=message):
        coupling.measure(make_model("llama"), make_ids(), **({"k": 2} | options))


def test_training_goes_on_bit_by_bit():
    """Measuring between two steps changes neither the random state nor the model."""
    import transformers

    from tests.helpers import GROUPED

    def train(measured):
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED, attention_dropout=0.2)).train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for step in range(3):
            ids = make_ids(step)
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if measured:
                coupling.measure(model, make_ids(9), k=2)
        return model.state_dict()

    plain, watched = train(False), train(True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
