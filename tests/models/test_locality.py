"""Which blocks are replayed on single tokens is found out by comparing both paths."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.llama import modeling_llama

import coupling
from coupling.models import recording as module_under_test
from coupling.models.locality import close
from coupling.models.recording import Recording
from tests.helpers import GROUPED, block_list, make_ids, make_model, reference_jacobian


def doge():
    """A model whose attention mask is computed from the values, so that it moves with the token."""
    torch.manual_seed(0)
    config = transformers.DogeConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    model = transformers.AutoModel.from_config(config, dtype=torch.float64).eval()
    for block in model.layers:
        block.self_attn.A.data.normal_(0, 2.0)
        block.self_attn.dt_proj.weight.data.normal_(0, 1.0)
        block.self_attn.v_proj.weight.data.normal_(0, 0.2)
        block.self_attn.o_proj.weight.data.normal_(0, 0.2)
    return model


def test_a_mask_that_moves_with_the_token_is_noticed_by_the_derivative():
    model, ids = doge(), make_ids()
    recording = coupling.record(model, {"input_ids": ids})
    assert all(recording.replays(block) == ["prefix", "full-sequence"] for block in range(3))
    for block in range(3):
        expected = reference_jacobian(model, ids, block, 10, 10)
        dense = recording.jacobian(block, 10).to_dense().double()
        assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_wrong_derivative_is_noticed_in_half_precision(dtype):
    """The value agrees to the coarse rounding; half of the derivative is missing."""
    model = make_model("llama")
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward

    def forward(x):  # the mean over all tokens has no value, but a derivative
        mean = x.mean(1, keepdim=True)
        return original(mlp, x) + (mean - mean.detach()) * x.shape[1] * (x.shape[1] > 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp, "forward", forward)
        recording = coupling.record(model.to(dtype), {"input_ids": make_ids()})
        assert [recording.is_local(block) for block in range(3)] == [True, False, True]


def test_what_agrees_in_half_precision_is_replayed_on_one_token(architecture):
    for dtype in (torch.bfloat16, torch.float16):
        assert coupling.record(make_model(architecture).to(dtype), {"input_ids": make_ids()}).token_local


def test_blocks_are_decided_one_by_one(monkeypatch):
    """Only the block that looks at the next token behind the interface replays the full sequence."""
    model, ids = make_model("llama"), make_ids()
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, 0.5 * (x + x.roll(-1, dims=1))))
    run = coupling.measure(model, ids, k=4)
    assert run.attrs["linearization"] == "full-sequence+token-local"
    assert run.token_local.values.tolist() == [[True, False, True]]
    assert run.replay.values.tolist() == [["token-local", "full-sequence", "token-local"]]


def test_a_replay_that_fails_at_one_token_alone_is_not_used_there(monkeypatch):
    """The first token sees the last one, which the tokens up to it do not contain; the value shows it."""
    model, ids = make_model("llama").double(), make_ids()
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, 0.5 * (x + x.roll(1, dims=1))))
    recording = coupling.record(model, {"input_ids": ids})
    for token, replay in ((6, "prefix"), (0, "full-sequence")):
        jacobian = recording.jacobian(1, token)
        assert jacobian.replay == replay
        expected = reference_jacobian(model, ids, 1, token, token)
        assert torch.linalg.norm(jacobian.to_dense().double() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_an_unknown_keyword_of_the_attention_call_sends_the_block_to_the_full_sequence(monkeypatch):
    """Attention that reads a keyword the recording attention does not know, as sparse attention does."""

    def sparse(module, query, key, value, attention_mask, scaling, dropout=0.0, indices=None, **kwargs):
        if indices is not None:
            attention_mask = attention_mask + indices.to(attention_mask)
        return eager(module, query, key, value, attention_mask, scaling, dropout, **kwargs)

    eager = modeling_llama.eager_attention_forward
    monkeypatch.setattr(modeling_llama, "eager_attention_forward", sparse)
    model, ids = make_model("llama"), make_ids()
    attention = block_list(model)[2].self_attn
    attention.hidden = torch.zeros(11, 11).masked_fill(torch.arange(11) % 3 == 1, -1e4)
    original = type(attention).forward

    def forward(self, **kwargs):
        return original(self, **kwargs, indices=getattr(self, "hidden", None))

    monkeypatch.setattr(type(attention), "forward", forward)
    recording = coupling.record(model, {"input_ids": ids})
    assert recording.locality.right == {0: ["token-local"], 1: ["token-local"], 2: []}
    assert recording.tape.foreign == {2: "its attention takes indices"}
    model.set_attn_implementation("eager")
    own = model(ids, output_hidden_states=True, use_cache=False).hidden_states
    assert torch.allclose(recording.trajectory[2], own[2][0], atol=1e-5)
    for block in range(3):
        expected = reference_jacobian(model, ids, block, 10, 10)
        dense = recording.jacobian(block, 10).to_dense().double()
        assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_the_stream_passed_several_times_moves_everywhere(monkeypatch):
    """A block that is given the stream twice, as query and as value."""
    model, ids = make_model("gpt2"), make_ids()
    block = block_list(model)[1]
    original = type(block).forward

    def forward(hidden_states, *args, again=None, **kwargs):
        return original(block, hidden_states, *args, **kwargs) + 0.3 * again

    monkeypatch.setattr(block, "forward", forward)
    call = type(block).__call__
    monkeypatch.setattr(
        type(block), "__call__",
        lambda self, x, *a, **k: call(self, x, *a, **k, again=x) if self is block else call(self, x, *a, **k),
    )  # fmt: skip
    recording = coupling.record(model, {"input_ids": ids})
    monkeypatch.undo()
    expected = reference_jacobian(model, ids, 1, 10, 10) + 0.3 * torch.eye(32, dtype=torch.float64)
    monkeypatch.setattr(block, "forward", forward)
    dense = recording.jacobian(1, 10).to_dense().double()
    assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_a_longer_prompt_is_checked_again():
    model = make_model("llama")
    coupling.record(model, {"input_ids": make_ids(0, 5)})
    locality = module_under_test.locality_of(model, block_list(model))
    assert locality.verified == {0: 5, 1: 5, 2: 5}
    coupling.record(model, {"input_ids": make_ids(0, 9)})
    coupling.record(model, {"input_ids": make_ids(1, 7)})
    assert locality.verified == {0: 9, 1: 9, 2: 9}


def test_shared_layers_are_measured_call_by_call():
    """ALBERT calls one module L times; every call has a Jacobian of its own."""
    torch.manual_seed(0)
    config = transformers.AlbertConfig(
        vocab_size=97,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    model, ids = transformers.AlbertModel(config).eval(), make_ids()
    run = coupling.measure(model, ids, k=3)
    assert run.block.values.tolist() == [0, 1, 2, 3]
    recording = coupling.record(model, {"input_ids": ids})
    double = transformers.AlbertModel(config).eval().double()
    double.load_state_dict(model.state_dict())
    group = double.encoder.albert_layer_groups[0]
    for block in range(4):
        stream = recording.trajectory[block].double()

        def update(x, stream=stream):
            moved = stream[None].clone()
            moved[0, 10] = x
            output = group(moved)
            return (output[0] if isinstance(output, tuple) else output)[0, 10] - x

        expected = torch.autograd.functional.jacobian(update, stream[10])
        dense = recording.jacobian(block, 10).to_dense().double()
        assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_a_zero_block_leaves_the_other_numbers_alone():
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)).eval()
    whole = coupling.measure(model, make_ids(), k=4)
    block = model.model.layers[1]
    block.self_attn.o_proj.weight.data.zero_()
    block.mlp.down_proj.weight.data.zero_()
    run = coupling.measure(model, make_ids(), k=4)
    assert coupling.summarize(run)["zero_blocks"] == [1]
    assert np.isnan(run.mismatch.sel(block=1)).all()
    assert np.isnan(run.mismatch.sel(other_block=1)).all()
    assert np.isnan(run.chance.sel(other_block=1)).all()
    assert np.isfinite(run.line_shape_score).all()
    assert np.isfinite(coupling.score(run))
    m = run.mismatch.sel(k=4, norm=2)[0]
    by_hand = 1 - np.mean([float(m.sel(block=a, other_block=b)) for a, b in ((0, 2), (2, 0))])
    assert coupling.score(run) == pytest.approx(by_hand)
    assert np.allclose(run.singular_values.sel(block=0), whole.singular_values.sel(block=0), rtol=1e-5)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_model_of_zero_blocks_says_so(cli):
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)).eval()
    for block in model.model.layers:
        block.self_attn.o_proj.weight.data.zero_()
        block.mlp.down_proj.weight.data.zero_()
    run = coupling.measure(model, make_ids(), k=4)
    assert np.isnan(coupling.score(run))
    assert coupling.summarize(run)["zero_blocks"] == [0, 1, 2]
    with pytest.raises(coupling.CouplingError, match=r"is zero .* nothing to draw"):
        coupling.figures.heatmap(run)


def test_a_long_prompt_is_checked_on_its_first_tokens(monkeypatch):
    """Derivatives through the whole of it would need memory that grows with the square of its length."""
    monkeypatch.setattr("coupling.models.recording.LONGEST_CHECK", 6)
    lengths = []
    product = Recording.product

    def counted(self, block, token, u, replay):
        lengths.append(self.n_tokens)
        return product(self, block, token, u, replay)

    monkeypatch.setattr(Recording, "product", counted)
    model = make_model("llama")
    for _ in range(2):
        recording = coupling.record(model, {"input_ids": make_ids()})
    assert set(lengths) == {6}
    assert len(lengths) == 2 * 3  # the full sequence and one token, of three blocks, once
    for block in range(3):
        expected = reference_jacobian(model, make_ids(), block, 10, 10)
        jacobian = recording.jacobian(block, 10)
        assert jacobian.replay == "token-local"
        assert torch.linalg.norm(jacobian.to_dense().double() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_attention_that_differs_only_in_a_long_prompt_is_noticed(monkeypatch):
    """As where a sparse attention begins to choose among keys: the block is recorded by its own attention then."""
    monkeypatch.setattr("coupling.models.recording.LONGEST_CHECK", 6)

    def differing(own_value):
        def changed(self, block):
            is_recorded = (block, model.layers[block].self_attn) in self.tape.attended
            return own_value(self, block) + float(block == 1 and is_recorded)

        return changed

    for name in ("own_value", "own_value_alone"):
        monkeypatch.setattr(Recording, name, differing(getattr(Recording, name)))
    model = make_model("llama")
    recording = coupling.record(model, {"input_ids": make_ids()})
    assert list(recording.locality.own) == [model.layers[1].self_attn]
    assert [recording.replays(block)[0] for block in range(3)] == ["token-local", "full-sequence", "token-local"]
    expected = reference_jacobian(model, make_ids(), 1, 10, 10)
    dense = recording.jacobian(1, 10).to_dense().double()
    assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_the_last_token_alone_has_the_value_of_all_tokens(architecture):
    """By the model's own attention, from the recorded keys and values."""
    recording = coupling.record(make_model(architecture), {"input_ids": make_ids()})
    for block in range(recording.n_blocks):
        alone = recording.own_value_alone(block)
        takes_cache = recording.calls[block].memory_name is not None and recording.tape.attends(block)
        assert (alone is not None) == takes_cache
        if alone is not None:
            assert close(alone, recording.own_value(block), recording.trajectory[block + 1, -1])


def test_a_long_prompt_of_a_usual_model_runs_no_block_on_all_tokens_again(monkeypatch):
    monkeypatch.setattr("coupling.models.recording.LONGEST_CHECK", 6)
    monkeypatch.setattr(Recording, "own_value", lambda self, block: pytest.fail("all tokens were computed"))
    for name in ("llama", "gpt2"):
        recording = coupling.record(make_model(name), {"input_ids": make_ids()})
        assert recording.token_local
        assert set(recording.locality.verified.values()) == {recording.n_tokens}
