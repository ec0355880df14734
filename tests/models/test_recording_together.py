"""Prompts recorded in one forward pass against those recorded alone; what cannot be recorded so is recorded alone."""

from collections import UserDict

import peft
import pytest
import torch
import transformers
from torch import nn

import coupling
from coupling.linalg.jacobian import PASS_MEMORY
from coupling.models.recording import record_blocks
from coupling.models.recording_together import (
    MOST_TOKENS,
    NotSplitError,
    Rows,
    one_pass,
    prompts_per_pass,
    record_together,
    saves_time,
)
from tests.helpers import GROUPED, TOKEN_LOCAL, TOKENS, block_list, make_ids, make_model, reference_jacobian

COUNT = TOKENS
"""As many prompts as each has tokens: the size of an axis does not say which of the two it is of."""


def prompts(count=COUNT, tokens=TOKENS):
    return [{"input_ids": make_ids(seed, tokens)} for seed in range(count)]


def alone(model, inputs):
    return [record_blocks(model, block_list(model), one) for one in inputs]


def passed(model, inputs):
    """The recordings of one pass, or None where it is refused."""
    ends = alone(model, [inputs[0], inputs[-1]])
    return one_pass(model, block_list(model), inputs, (ends[0], ends[1]))


def close(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def count_passes(monkeypatch, model):
    """The number of prompts in each forward pass from now on."""
    sizes = []
    original = type(model).forward

    def forward(self, input_ids=None, *args, **kwargs):
        sizes.append(len(input_ids))
        return original(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", forward)
    return sizes


@pytest.mark.parametrize("name", sorted(TOKEN_LOCAL))
def test_each_prompt_has_the_recording_that_it_has_alone(name):
    model, inputs = make_model(name), prompts()
    recordings = passed(model, inputs)
    assert recordings is not None
    for one, expected in zip(recordings, alone(model, inputs), strict=True):
        assert close(one.trajectory, expected.trajectory)
        assert one.numbers == expected.numbers
        assert one.tape.foreign == expected.tape.foreign
        assert one.tape.attended.keys() == expected.tape.attended.keys()
        for place, seen in one.tape.attended.items():
            other = expected.tape.attended[place]
            assert close(seen.key, other.key)
            assert close(seen.value, other.value)
            assert seen.mask is other.mask is None or torch.equal(seen.mask, other.mask)
        for block in range(3):
            stream = expected.trajectory[block][None]
            assert close(one.calls[block](stream), expected.calls[block](stream))


@pytest.mark.parametrize("name", ["bert", "gemma2", "gpt2", "gpt_oss", "llama", "mixtral"])
def test_jacobians_are_those_of_float64_autograd(name):
    model = make_model(name)
    recordings = passed(model, prompts())
    assert recordings is not None
    for seed, source, target in ((0, 10, 10), (5, 10, 10), (5, 3, 8), (COUNT - 1, 6, 6)):
        dense = recordings[seed].jacobian(1, source, target)
        expected = reference_jacobian(model, make_ids(seed), 1, source, target)
        assert dense.replay == "token-local"
        assert torch.linalg.norm(dense.to_dense().double() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_many_prompts_take_one_pass_and_two_alone(monkeypatch):
    model = make_model("llama")
    sizes = count_passes(monkeypatch, model)
    recordings = record_together(model, block_list(model), prompts(20))
    assert sizes == [1, 1, 20]
    assert len(recordings) == 20
    known = {19: recordings[19], 0: recordings[0]}
    record_together(model, block_list(model), prompts(20), known)
    assert sizes == [1, 1, 20, 20]


def test_few_prompts_are_recorded_one_by_one(monkeypatch):
    model = make_model("llama")
    sizes = count_passes(monkeypatch, model)
    assert len(record_together(model, block_list(model), prompts(3))) == 3
    assert sizes == [1] * 3


def test_prompts_share_a_pass_where_its_products_are_small():
    assert saves_time(64, 32, 200_000)
    assert saves_time(16, 128, 200_000)
    assert not saves_time(8, 256, 200_000)
    assert not saves_time(8, 128, 7 * 10**6)
    assert not saves_time(3, 1, 1)


def test_a_pass_is_as_large_as_its_memory_allows(monkeypatch):
    model = make_model("llama")
    memory = 9 * TOKENS * 4 * (32 * 32 + 16 * TOKENS)
    sizes = count_passes(monkeypatch, model)
    recordings = record_together(model, block_list(model), prompts(20), memory=memory)
    assert sizes == [1, 1, 9, 1, 1, 9, 1, 1]  # each nine with two alone; the last two are too few
    for one, expected in zip(recordings, alone(model, prompts(20)), strict=True):
        assert close(one.trajectory, expected.trajectory)


def test_the_number_of_prompts_of_a_pass_falls_with_their_length_and_width():
    assert prompts_per_pass(128, 32, 4) == MOST_TOKENS // 32
    assert prompts_per_pass(128, 10**5, 4) == 0
    each = 128 * 4 * (32 * 1024 + 16 * 128)
    assert prompts_per_pass(1024, 128, 4) == PASS_MEMORY // each == 15
    assert prompts_per_pass(1024, 128, 4, 3 * each) == 3


def assert_equal(value, expected):
    """As ``torch.testing.assert_close``, in containers that have other things than tensors as well."""
    assert type(value) is type(expected)
    if isinstance(value, torch.Tensor):
        torch.testing.assert_close(value, expected)
    elif isinstance(value, (list, tuple)):
        for pair in zip(value, expected, strict=True):
            assert_equal(*pair)
    elif isinstance(value, dict):
        assert_equal(list(value.items()), list(expected.items()))
    else:
        assert value == expected


def refused(model, inputs):
    """Whether prompts are recorded one by one, with exactly what they have alone, though the blocks are token-local."""
    assert [alone(model, inputs[:1])[0].replays(block)[0] for block in range(3)] == ["token-local"] * 3
    assert passed(model, inputs) is None
    recordings = record_together(model, block_list(model), inputs)
    return all(
        torch.equal(one.trajectory, expected.trajectory)
        for one, expected in zip(recordings, alone(model, inputs), strict=True)
    )


class Among(nn.Module):
    """Adds to each prompt something of the others in the pass."""

    def __init__(self, inner, mixed):
        super().__init__()
        self.inner, self.mixed = inner, mixed

    def forward(self, hidden, *args, **kwargs):
        return self.inner(hidden + 1e-3 * self.mixed(hidden), *args, **kwargs)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x - x.mean(0, keepdim=True),
        lambda x: x.cumsum(0) - x,  # nothing at the first prompt
        lambda x: x.flip(0).cumsum(0).flip(0) - x,  # nothing at the last
        lambda x: x * (torch.arange(len(x)) >= 8)[:, None, None],  # experts that are full after eight prompts
    ],
)
def test_a_model_in_which_prompts_depend_on_each_other_records_them_one_by_one(mixed):
    model = make_model("llama")
    model.layers[1] = Among(model.layers[1], mixed)
    assert refused(model, prompts())


UNSPLIT = {
    "prompts and heads in one axis": lambda x: x.new_ones(4 * len(x), x.shape[1]),
    "another number of axes": lambda x: x.new_ones(*[3] * len(x)),
    "two axes": lambda x: x.new_ones(len(x), len(x)),
    "a number of prompts": len,
    "an object": lambda x: UserDict(stream=x),
}
SPLIT = {
    "first axis": lambda x: 2 * x,
    "second axis": lambda x: torch.stack([x, 3 * x]),
    "containers": lambda x: {"both": (x + 1, [x.mean(-1), None]), "text": "a"},
    "one for all": lambda x: torch.arange(x.shape[1]),
}


@pytest.mark.parametrize("kind", sorted(UNSPLIT))
def test_arguments_that_cannot_be_split_are_refused(kind):
    x = torch.randn(5, TOKENS, 8)
    with pytest.raises(NotSplitError):
        Rows(5).split(UNSPLIT[kind](x), UNSPLIT[kind](x[:1]))


@pytest.mark.parametrize("kind", sorted(SPLIT))
def test_each_prompt_has_the_argument_that_it_has_alone(kind):
    x = torch.randn(TOKENS, TOKENS, 8)  # as many prompts as tokens
    parts = Rows(TOKENS).split(SPLIT[kind](x), SPLIT[kind](x[:1]))
    for index, part in enumerate(parts):
        assert_equal(part, SPLIT[kind](x[index : index + 1]))


def test_what_is_equal_in_all_prompts_is_one_tensor():
    mask = torch.ones(5, 1, 4, 4).tril()
    parts = Rows(5).split([mask, mask], [mask[:1], mask[:1]])
    assert all(part is parts[0][0] for pair in parts for part in pair)


class WithExtra(nn.Module):
    """A block that takes one more argument, and leaves it unused."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden, *args, extra=None, **kwargs):
        return self.inner(hidden, *args, **kwargs)


def with_extra(make):
    """A model that gives its blocks an argument made of the stream."""
    model = make_model("llama")
    for index, layer in enumerate(model.layers):
        model.layers[index] = WithExtra(layer)
        model.layers[index].register_forward_pre_hook(
            lambda block, args, kwargs: (args, kwargs | {"extra": make(args[0])}), with_kwargs=True
        )
    return model


@pytest.mark.parametrize("kind", sorted(UNSPLIT))
def test_a_call_with_an_argument_that_cannot_be_split_is_recorded_alone(kind):
    assert refused(with_extra(UNSPLIT[kind]), prompts(9))


@pytest.mark.parametrize("kind", sorted(SPLIT))
def test_a_call_with_an_argument_that_can_be_split_is_recorded_with_others(kind):
    recordings = passed(with_extra(SPLIT[kind]), prompts())
    assert recordings is not None
    for index in (0, 4, COUNT - 1):
        expected = SPLIT[kind](recordings[index].trajectory[1][None])
        assert_equal(recordings[index].calls[1].keywords["extra"], expected)


def test_an_argument_of_another_value_is_refused():
    """It has the same shape for one prompt as for several."""
    assert refused(with_extra(lambda x: torch.tensor([len(x)])), prompts())
    assert refused(with_extra(lambda x: x.mean((0, 1))), prompts())


def before(model, change):
    """A model that does something before its forward pass, given the number of prompts."""
    model.register_forward_pre_hook(lambda _, args, kwargs: change(len(kwargs["input_ids"])), with_kwargs=True)
    return model


def test_a_pass_that_raises_is_made_one_by_one():
    def change(count):
        if count > 1:
            raise ValueError("one prompt at a time")

    assert refused(before(make_model("llama"), change), prompts())


def test_a_pass_that_draws_random_numbers_is_made_one_by_one():
    def change(count):
        if count > 1:
            torch.rand(count)

    model = before(make_model("llama"), change)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    assert refused(model, prompts())
    assert torch.equal(torch.rand(2), expected)


def test_a_model_that_remembers_its_passes_is_recorded_one_by_one():
    """Each pass shifts the embeddings a little: the pass of all prompts is not what the first had alone."""
    model = make_model("llama")

    def change(count):
        model.embed_tokens.weight.data.mul_(1.001)

    assert passed(before(model, change), prompts()) is None


def test_memory_that_runs_out_is_told():
    def change(count):
        if count > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        passed(before(make_model("llama"), change), prompts())


def test_a_prompt_that_is_not_finite_is_refused_where_it_is_alone():
    model, inputs = make_model("llama"), prompts()
    model.embed_tokens.weight.data[96] = float("nan")
    for index, one in enumerate(inputs):
        one["input_ids"] = one["input_ids"].clamp(max=95) if index != 4 else torch.full((1, TOKENS), 96)
    assert passed(model, inputs) is None
    with pytest.raises(coupling.CouplingError, match="embeddings contain a NaN"):
        record_together(model, block_list(model), inputs)


@pytest.mark.parametrize("name", ["bloom", "falcon", "gptj"])
def test_attention_of_an_own_kind_is_recorded_alone(name):
    assert passed(make_model(name), prompts()) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_recorded_alone(dtype):
    assert passed(make_model("llama").to(dtype), prompts()) is None
    assert passed(make_model("llama").double(), prompts()) is not None


def test_learned_tokens_and_encoder_decoder_models_are_recorded_alone(monkeypatch):
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)).eval()
    model = peft.get_peft_model(base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert passed(model, prompts()) is None
    model = make_model("llama")
    assert passed(model, prompts()) is not None
    monkeypatch.setattr(model.config, "is_encoder_decoder", True)
    assert passed(model, prompts()) is None


def test_arguments_with_one_entry_per_token_are_recorded_together():
    model = make_model("bert")
    inputs = [one | {"token_type_ids": make_ids(seed) % 2} for seed, one in enumerate(prompts())]
    recordings = passed(model, inputs)
    assert recordings is not None
    for one, expected in zip(recordings, alone(model, inputs), strict=True):
        assert close(one.trajectory, expected.trajectory)


def test_other_arguments_are_recorded_alone():
    mask = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril()
    inputs = [one | {"attention_mask": mask} for one in prompts()]
    assert passed(make_model("llama"), inputs) is None
