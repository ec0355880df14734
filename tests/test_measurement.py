"""Runs against the definition applied by hand to float64 autograd Jacobians; layout; seeds; refusals."""

import numpy as np
import pytest
import torch
import xarray as xr

import coupling
from coupling.models.tokenization import split_inputs
from coupling.plan import resolve_tokens
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
    run = coupling.measure(model, ids, k=3, kind="self", token=(2, 5, "last"))
    jacobians = reference(model, ids, [(1, t, t) for t in (2, 5, TOKENS - 1)])
    for s in (2, 5, TOKENS - 1):
        for t in (2, 5, TOKENS - 1):
            measured = run.mismatch.sel(k=3, norm=2, block=1, token=s, other_token=t).item()
            expected = coupling.pair_mismatch(jacobians[1, s, s], jacobians[1, t, t], 3)
            assert measured == pytest.approx(expected, abs=2e-4)
    assert np.isnan(run.mismatch.sel(token=3)).all()


def test_self_of_two_blocks_is_the_definition():
    model, ids = make_model("llama"), make_ids()
    run = coupling.measure(model, ids, k=3, kind="self", token=(2, 5), block_pairs=[(0, 2)])
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


def test_context_compares_tokens_on_the_right_side_only():
    model = make_model("llama")
    later = coupling.measure(model, make_ids(), k=2, kind="context-input", fixed_token=8)
    assert np.isfinite(later.mismatch.isel(norm=0)).any(["prompt", "k", "block", "other_token"]).values.tolist() == [
        t >= 8 for t in range(TOKENS)
    ]
    earlier = coupling.measure(model, make_ids(), k=2, kind="context-output", fixed_token=2)
    assert np.isfinite(earlier.mismatch.isel(norm=0)).any(["prompt", "k", "block", "other_token"]).values.tolist() == [
        t <= 2 for t in range(TOKENS)
    ]


def test_engines_agree():
    model, ids = make_model("gpt2"), make_ids()
    dense, free = (coupling.measure(model, ids, k=5, engine=e, tol=1e-6) for e in ("dense", "matrix-free"))
    assert dense.attrs["engine"] == "dense"
    assert free.attrs["engine"] == "matrix-free"
    for name in ("mismatch", "mismatch_swapped", "mismatch_signed", "singular_values"):
        assert np.allclose(dense[name], free[name], atol=1e-4)
    assert np.allclose(dense.chance, free.chance, rtol=0.03)


def test_dropping_the_dense_matrices_changes_nothing(monkeypatch):
    model, ids = make_model("gpt2"), make_ids()
    kept = coupling.measure(model, ids, k=5)
    monkeypatch.setattr("coupling.linalg.pairwise.KEPT_MEMORY", 0)
    assert np.allclose(kept.mismatch, coupling.measure(model, ids, k=5).mismatch, atol=1e-5)


def test_layout():
    prompts = [make_ids(0, 5), make_ids(1, 9)]
    run = coupling.measure(make_model("llama"), prompts, k=(4, 2, 4), detail="none")
    assert run.mismatch.dims == run.chance.dims == ("prompt", "k", "norm", "block", "other_block")
    assert run.singular_values.dims == run.singular_value_error.dims == ("prompt", "block", "rank")
    assert run.line_shape_score.dims == run.expodistance.dims == ("prompt", "token")
    assert run.residual_norm.dims == ("prompt", "token", "layer")
    assert run.left_angle.dims == ("prompt", "k", "block", "other_block", "rank")
    assert dict(run.sizes) == {
        "prompt": 2, "k": 2, "norm": 2, "block": 3, "other_block": 3, "rank": 4, "token": 9, "layer": 4,
    }  # fmt: skip
    assert run.k.values.tolist() == [2, 4]
    assert run.n_tokens.values.tolist() == [5, 9]
    assert run.measured_token.values.tolist() == [4, 8]
    assert np.isnan(run.residual_norm[0, 5:]).all()
    assert np.isfinite(run.residual_norm[1]).all()
    for key in ("model", "revision", "commit_hash", "weights_hash", "dtype", "device", "seed", "engine",
                "package_version"):  # fmt: skip
        assert key in run.attrs


def test_a_prompt_measures_the_same_in_any_company():
    model = make_model("llama")
    alone = coupling.measure(model, make_ids(0, 5), k=4)
    together = coupling.measure(model, [make_ids(1, 9), make_ids(0, 5)], k=4)
    assert np.array_equal(alone.mismatch[0], together.mismatch[1])
    assert np.array_equal(alone.expodistance[0], together.expodistance[1, :5])


def test_several_tokens_get_an_axis():
    model, ids = make_model("llama"), make_ids()
    run = coupling.measure(model, ids, k=4, token=(3, -1))
    assert run.mismatch.dims == ("prompt", "token", "k", "norm", "block", "other_block")
    single = coupling.measure(model, ids, k=4, token=3)
    assert np.array_equal(run.mismatch.sel(token=3), single.mismatch)
    both = (coupling.score(single, 4) + coupling.score(coupling.measure(model, ids, k=4), 4)) / 2
    assert coupling.score(run, 4) == pytest.approx(both)


def test_the_score_is_the_mean_over_ordered_pairs_of_distinct_blocks():
    run = coupling.measure(make_model("llama"), [make_ids(0), make_ids(1)], k=4)
    m = run.mismatch.sel(k=4, norm=2).values
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    by_hand = np.mean([np.mean([1 - m[p, a, b] for a, b in pairs]) for p in range(2)])
    assert coupling.score(run, k=4, norm=2) == pytest.approx(by_hand)
    assert np.allclose(np.diagonal(m, axis1=1, axis2=2), 0, atol=1e-5)


def test_the_score_of_self_leaves_out_a_token_with_itself():
    run = coupling.measure(make_model("llama"), make_ids(), k=4, kind="self", token=(1, 4))
    m = run.mismatch.sel(k=4, norm=2)
    by_hand = 1 - np.mean([m.sel(token=1, other_token=4), m.sel(token=4, other_token=1)])
    assert coupling.score(run, k=4, norm=2) == pytest.approx(by_hand)


def test_angles_of_a_block_with_itself_are_zero():
    run = coupling.measure(make_model("llama"), make_ids(), k=(2, 4))
    own = run.left_angle.values[0, 1, range(3), range(3)]
    assert np.allclose(own, 0, atol=1e-6)
    assert np.isnan(run.left_angle.sel(k=2).isel(rank=slice(2, None))).all()
    other = run.right_angle.values[0, 1, 0, 1]
    assert (other > 0.01).any()
    assert (np.diff(other) >= 0).all()


def test_same_seed_same_bytes():
    from coupling.run_folder import to_bytes

    model, ids = make_model("llama"), make_ids()
    runs = [coupling.measure(model, ids, k=4, seed=5, engine="matrix-free") for _ in range(2)]
    assert to_bytes(runs[0]) == to_bytes(runs[1])


def test_engines_that_differ_between_prompts_are_both_named(monkeypatch):
    def few_are_dense(shape, k, extra_columns):
        return "dense" if extra_columns < 150 else "matrix-free"

    monkeypatch.setattr("coupling.linalg.pairwise.choose_engine", few_are_dense)
    run = coupling.measure(make_model("llama"), [make_ids(0, 9), make_ids(1, 20)], k=4, kind="self")
    assert run.attrs["engine"] == "dense+matrix-free"
    assert coupling.summarize(run)["provenance"]["engine"] == "dense+matrix-free"


@pytest.mark.parametrize("name", ["llama", "mixtral", "gemma2", "gpt_oss"])
def test_float64_stays_token_local(name):
    """Softmax in float32 inside the models' own attention is no reason to leave the fast way."""
    run = coupling.measure(make_model(name).double(), make_ids(), k=4)
    assert run.attrs["linearization"] == "token-local"


def test_a_parameter_without_axes_is_hashed():
    model = make_model("llama")
    before = coupling.measure(model, make_ids(), k=2).attrs["weights_hash"]
    model.register_parameter("scale", torch.nn.Parameter(torch.tensor(1.0)))
    assert coupling.measure(model, make_ids(), k=2).attrs["weights_hash"] != before


def test_padding_is_taken_off():
    model, ids = make_model("llama"), make_ids(0, 6)
    padded = {
        "input_ids": torch.cat([torch.full((1, 3), 2), ids], 1),
        "attention_mask": torch.tensor([[0] * 3 + [1] * 6]),
    }
    assert np.array_equal(coupling.measure(model, padded, k=2).mismatch, coupling.measure(model, ids, k=2).mismatch)


def test_inputs_of_every_form():
    ids = make_ids()
    assert [p["input_ids"].shape for p in split_inputs(ids[0])] == [(1, TOKENS)]
    assert len(split_inputs(torch.cat([ids, ids]))) == 2
    assert len(split_inputs([{"input_ids": ids}, ids])) == 2
    assert [p["input_ids"].shape for p in split_inputs([3, 4, 5])] == [(1, 3)]
    assert [p["input_ids"].shape for p in split_inputs([[3, 4, 5], [3, 4]])] == [(1, 3), (1, 2)]
    assert [p["input_ids"].shape for p in split_inputs(ids.numpy())] == [(1, TOKENS)]
    with pytest.raises(coupling.CouplingError, match="are text; tokenize"):
        split_inputs(["hello"])
    with pytest.raises(coupling.CouplingError, match="no tokens"):
        split_inputs(torch.zeros(1, 0, dtype=torch.int64))
    with pytest.raises(coupling.CouplingError, match="no prompts"):
        split_inputs([])
    with pytest.raises(coupling.CouplingError, match="no tensors"):
        split_inputs({"input_ids": [[1, 2]]})


def test_tokens_by_name():
    assert resolve_tokens("last", 5) == [4]
    assert resolve_tokens("all", 3) == [0, 1, 2]
    assert resolve_tokens(-2, 5) == [3]
    assert resolve_tokens((3, "last", 0, -1), 5) == [0, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 33}, "K is 33, but this model's residual stream has d = 32"),
        ({"k": 0}, "K is 0, but must be at least 1"),
        ({"k": ()}, "no K"),
        ({"token": TOKENS}, "token 11 is out of range: the prompt has 11 tokens"),
        ({"token": -TOKENS - 1}, "out of range"),
        ({"token": "first"}, "'first' is not an index"),
        ({"kind": "width"}, "kind is 'width'"),
        ({"kind": "self", "token": 3}, "1 of them are left"),
        ({"kind": "self", "block_pairs": [(0, 3)]}, "no block 3"),
        ({"block_pairs": [(0, 1)]}, "block pairs belong to kind self"),
        ({"fixed_token": 0}, "a fixed token belongs"),
        ({"engine": "svd"}, "engine is 'svd'"),
        ({"tol": 0}, "tol is 0"),
        ({"seed": 2**63}, "seed is"),
        ({"seed": -1}, "seed is -1"),
        ({"blocks": "model.layer"}, "no list of modules named 'model.layer'; this model's lists: layers"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(coupling.CouplingError, match=message):
        coupling.measure(make_model("llama"), make_ids(), **({"k": 2} | options))


def test_what_the_tables_do_not_hold_is_refused():
    for ids in (torch.tensor([[3, 97]]), make_ids(0, 65)):
        with pytest.raises(coupling.CouplingError, match="beyond the model's table of embeddings"):
            coupling.measure(make_model("gpt2"), ids, k=2)


@pytest.mark.parametrize("place", [(3, 0, None), (-1, 0, None), (0, TOKENS, None), (0, 0, -1)])
def test_a_jacobian_that_is_not_there_is_refused(place):
    recording = coupling.record(make_model("gpt2"), {"input_ids": make_ids()})
    with pytest.raises(coupling.CouplingError, match="out of range"):
        recording.jacobian(*place)


def test_a_single_block_model_is_refused():
    import transformers

    from tests.helpers import GROUPED

    model = transformers.LlamaModel(transformers.LlamaConfig(**(GROUPED | {"num_hidden_layers": 1})))
    with pytest.raises(coupling.CouplingError, match="at least two blocks"):
        coupling.measure(model, make_ids(), k=2)
    assert coupling.measure(model, make_ids(), k=2, kind="self", token=(1, 2)).sizes["block"] == 1


def test_encoder_decoder_models_are_refused():
    import transformers

    config = transformers.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    with pytest.raises(coupling.CouplingError, match="encoder-decoder"):
        coupling.measure(transformers.T5Model(config), make_ids(), k=2)


def test_blocks_named_as_in_the_language_model():
    import transformers

    from tests.helpers import GROUPED

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))
    for blocks in (None, "model.layers", "layers"):
        assert coupling.measure(model, make_ids(), k=2, blocks=blocks).sizes["block"] == 3
        assert coupling.measure(model.model, make_ids(), k=2, blocks=blocks).sizes["block"] == 3


def test_blocks_that_are_none_are_refused():
    class Twins(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
            self.right = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])

        def forward(self, input_ids):
            x = torch.ones(1, input_ids.shape[1], 4)
            return self.left[0](x) + self.left[1](x)

    with pytest.raises(coupling.CouplingError, match=r"--blocks model\.layers.* left \(2 x Linear\)"):
        coupling.measure(Twins(), make_ids(), k=2)
    with pytest.raises(coupling.CouplingError, match="what enters block 1 is not what block 0 gave"):
        coupling.measure(Twins(), make_ids(), k=2, blocks="left")
    with pytest.raises(coupling.CouplingError, match="called 0 times"):
        coupling.measure(Twins(), make_ids(), k=2, blocks="right")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_name_their_block(value):
    model = make_model("gpt2")
    model.h[1].mlp.c_fc.weight.data[0, 0] = value
    with pytest.raises(coupling.CouplingError, match=r"weights of block 1 .*mlp\.c_fc\.weight"):
        coupling.measure(model, make_ids(), k=2)


def test_overflowing_activations_name_their_block():
    model = make_model("gpt2")
    model.h[2].mlp.c_proj.weight.data.fill_(3e38)
    with pytest.raises(coupling.CouplingError, match=r"block 2 is not finite .*overflow float32; .*float64"):
        coupling.measure(model, make_ids(), k=2)


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


def test_a_trained_model_is_beyond_chance_and_an_untrained_one_is_not(bundled_run):
    from importlib.resources import files

    import transformers

    config = transformers.AutoConfig.from_pretrained(files("coupling") / "data/checkpoint")
    torch.manual_seed(0)
    untrained = transformers.AutoModel.from_config(config, dtype=torch.float32)
    random = coupling.summarize(coupling.measure(untrained, make_ids(0, 20), k=10))["scores"]
    trained = coupling.summarize(bundled_run)["scores"]
    excess = {name: next(r["excess"] for r in rows if r["norm"] == 2 and r["variant"] == "absolute")
              for name, rows in (("trained", trained), ("untrained", random))}  # fmt: skip
    assert excess["trained"] > 0.02
    assert abs(excess["untrained"]) < 0.02


@pytest.fixture(scope="module")
def bundled_run() -> xr.Dataset:
    return coupling.analyze(prompts=["def mean(values):\n    return sum(values) /", "import os\nfor name in os."], k=10)
