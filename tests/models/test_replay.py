"""How a block is replayed: on one token from what it keeps of those before, or on the tokens up to the output token."""

import inspect

import pytest
import torch
import transformers
from transformers.cache_utils import LinearAttentionLayer

import coupling
from tests.helpers import GROUPED, OWN, SMALL, block_list, make_ids, make_model, reference_jacobian

STATE, LOCAL, PREFIX, FULL = "recorded-state", "token-local", "prefix", "full-sequence"
MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4}
DELTA = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
HYBRIDS = {
    "qwen3_next": ("Qwen3Next", GROUPED | DELTA | EXPERTS | {"shared_expert_intermediate_size": 24},
                   [STATE, LOCAL, STATE]),
    "qwen3_5": ("Qwen3_5Text", GROUPED | DELTA, [STATE, LOCAL, STATE]),
    "jamba": ("Jamba", {key: value for key, value in GROUPED.items() if key != "head_dim"}
              | {"attn_layer_period": 3, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 8,
                 "mamba_dt_rank": 4, "use_mamba_kernels": False}, [STATE, LOCAL, STATE]),
    "falcon_h1": ("FalconH1", GROUPED | MAMBA, [STATE] * 3),
    "lfm2": ("Lfm2", GROUPED | {"layer_types": ["conv", "full_attention", "conv"], "block_ff_dim": 48},
             [STATE, LOCAL, STATE]),
    "mamba": ("Mamba", OWN | {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8}, [STATE] * 3),
    "mamba2": ("Mamba2", OWN | {"hidden_size": 32, "num_hidden_layers": 3, "num_heads": 8, "head_dim": 8,
                                "state_size": 8, "n_groups": 1, "chunk_size": 4}, [STATE] * 3),
    "minimax": ("MiniMax", GROUPED | {"layer_types": ["linear_attention", "full_attention", "linear_attention"],
                                      "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 4},
                [STATE, LOCAL, STATE]),
    "rwkv": ("Rwkv", OWN | {"hidden_size": 32, "num_hidden_layers": 3, "context_length": 64}, [PREFIX] * 3),
}  # fmt: skip


KNOWS_KERNELS = "conv_kernel_size" in inspect.signature(LinearAttentionLayer.update_conv_state).parameters
"""Caches of the earliest versions have another protocol, so that most blocks with a memory replay all tokens there."""


def ways(expected):
    """The ways that blocks may take in the installed version of transformers."""
    return [(way, PREFIX) if way == STATE and not KNOWS_KERNELS else (way,) for way in expected]


def are_ways(taken, expected):
    return all(way in allowed for way, allowed in zip(taken, ways(expected), strict=True))


def hybrid(name):
    family, options, _ = HYBRIDS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**options)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(min(8.0, max(1.0, 0.16 / float(parameter.std().clamp_min(1e-6)))))
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", HYBRIDS)
def test_a_block_with_a_memory_agrees_with_float64_autograd(name):
    model, ids = hybrid(name), make_ids()
    recording = coupling.record(model, {"input_ids": ids})
    assert are_ways([recording.replays(block)[0] for block in range(3)], HYBRIDS[name][2])
    for block in range(3):
        for source, target in ((10, 10), (5, 5), (0, 0), (3, 7)):
            jacobian = recording.jacobian(block, source, target)
            expected = reference_jacobian(model, ids, block, source, target)
            error = torch.linalg.norm(jacobian.to_dense().double() - expected)
            assert error <= 2e-5 * torch.linalg.norm(expected), (block, source, target, jacobian.replay)


def test_one_memory_serves_every_product():
    recording = coupling.record(hybrid("mamba"), {"input_ids": make_ids()})
    first, second = (recording.jacobian(1, 8) for _ in range(2))
    assert are_ways([first.replay], [STATE])
    assert torch.equal(first.to_dense(), second.to_dense())
    v = torch.randn(32, 3)
    assert torch.allclose(first.matmat(v), first.to_dense() @ v, atol=1e-4)


def test_the_run_says_how_every_block_was_replayed():
    run = coupling.measure(hybrid("qwen3_next"), [make_ids(), make_ids(1, 7)], k=4)
    assert all(are_ways(taken, [STATE, LOCAL, STATE]) for taken in run.replay.values.tolist())
    assert run.token_local.values.tolist() == [[way != PREFIX for way in taken] for taken in run.replay.values.tolist()]
    assert set(run.attrs["linearization"].split("+")) == set(run.replay.values.ravel())


def test_a_causal_block_without_a_memory_is_replayed_on_the_tokens_up_to_the_output(monkeypatch):
    model, ids = make_model("llama"), make_ids()
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward
    shifted = torch.nn.ZeroPad2d((0, 0, 1, -1))
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, 0.5 * (x + shifted(x))))
    recording = coupling.record(model, {"input_ids": ids})
    assert [recording.replays(block) for block in range(3)] == [[LOCAL, FULL], [PREFIX, FULL], [LOCAL, FULL]]
    jacobian = recording.jacobian(1, 6)
    assert jacobian.replay == PREFIX
    whole = recording._jacobian(1, 6, 6, FULL).to_dense()
    assert torch.allclose(jacobian.to_dense(), whole, atol=1e-5 * float(whole.norm()))


def test_a_block_whose_later_tokens_matter_is_replayed_from_its_memory_at_the_last_token_alone():
    """RemBERT takes a cache and looks at all tokens: only before the last token does the cache have all others."""
    torch.manual_seed(0)
    config = transformers.RemBertConfig(**SMALL | {"input_embedding_size": 16, "output_embedding_size": 16})
    model, ids = transformers.RemBertModel(config).eval(), make_ids()
    recording = coupling.record(model, {"input_ids": ids})
    for token in (10, 4):
        jacobian = recording.jacobian(0, token)
        assert jacobian.replay == (STATE if token == 10 else FULL)
        expected = reference_jacobian(model, ids, 0, token, token)
        assert torch.linalg.norm(jacobian.to_dense().double() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_a_short_prompt_has_nothing_to_remember():
    recording = coupling.record(hybrid("mamba"), {"input_ids": make_ids(0, 1)})
    assert recording.jacobian(0, 0).replay == PREFIX


def test_eager_attention_that_cannot_repeat_grouped_keys_is_not_needed(monkeypatch):
    """The full sequence is then replayed by the attention that the model was loaded with (Unlimited OCR)."""
    from transformers.models.llama import modeling_llama

    expected = [reference_jacobian(make_model("llama"), make_ids(), block, 10, 10) for block in range(3)]
    model, ids = make_model("llama"), make_ids()
    monkeypatch.setattr(modeling_llama, "repeat_kv", lambda x, n: x)
    recording = coupling.record(model, {"input_ids": ids})
    assert not recording.locality.eager
    for block in range(3):
        assert recording.replays(block) == [LOCAL, FULL]
        for way in (LOCAL, FULL):
            dense = recording._jacobian(block, 10, 10, way).to_dense().double()
            assert torch.linalg.norm(dense - expected[block]) <= 1e-5 * torch.linalg.norm(expected[block])
