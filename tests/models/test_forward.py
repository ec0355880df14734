"""What is wrong with a forward pass is said in one line."""

import accelerate
import numpy as np
import peft
import pytest
import torch
import transformers

import coupling
from coupling.models.forward import device_of
from tests.helpers import GROUPED, make_ids, make_model


def test_positions_that_run_out():
    config = transformers.XLMRobertaConfig(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=18,
    )
    with pytest.raises(coupling.CouplingError, match="the prompt is too long for the model"):
        coupling.measure(transformers.XLMRobertaModel(config).eval(), make_ids(0, 17), k=4)


def test_blocks_of_different_precision_are_named():
    model = make_model("llama")
    model.layers[1].to(torch.bfloat16)
    with pytest.raises(coupling.CouplingError, match="block 1 has weights of bfloat16, other blocks of float32"):
        coupling.measure(model, make_ids(), k=4)


def test_a_hierarchical_model_is_refused_with_its_widths():
    class Narrowing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 4), torch.nn.Linear(4, 4)])

        def forward(self, input_ids):
            x = torch.ones(1, input_ids.shape[1], 8)
            for block in self.blocks:
                x = block(x)
            return x

    with pytest.raises(coupling.CouplingError, match=r"changes its size from \(11, 8\) .* to \(11, 4\) at block 1"):
        coupling.measure(Narrowing(), make_ids(), k=2)


def test_offloaded_weights_are_measured(monkeypatch):
    expected = coupling.measure(make_model("llama"), make_ids(), k=4)
    model = make_model("llama")
    accelerate.cpu_offload(model, execution_device="cpu")
    assert device_of(model) == torch.device("cpu")
    run = coupling.measure(model, make_ids(), k=4)
    assert np.allclose(run.mismatch, expected.mismatch, atol=1e-6)
    assert run.attrs["weights_hash"] == expected.attrs["weights_hash"]


def test_learned_tokens_are_not_counted():
    """Prompt tuning puts learned tokens in front; indices mean what the user typed."""
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)).eval()
    model = peft.get_peft_model(base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    run = coupling.measure(model, make_ids(), k=4, tokens=2)
    assert int(run.n_tokens[0]) == 11
    assert int(run.measured_token[0]) == 2
    assert run.attrs["virtual_tokens"] == 3
    recording = coupling.record(model, {"input_ids": make_ids()})
    values = np.linalg.svd(recording.jacobian(1, 5).to_dense().double().numpy(), compute_uv=False)[:4]
    assert np.allclose(run.singular_values.sel(block=1)[0], values, rtol=1e-5)


def test_a_pass_that_draws_random_numbers_without_effect_is_measured(monkeypatch):
    model = make_model("gpt2")
    original = type(model).forward

    def forward(self, *args, **kwargs):
        torch.rand(1)  # as layer drop does, in evaluation mode too
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", forward)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    coupling.measure(model, make_ids(), k=4)
    assert torch.equal(torch.rand(2), expected)


def test_windows_of_one_image_are_not_called_a_batch():
    class Windows(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)])

        def forward(self, input_ids):
            x = torch.ones(4, input_ids.shape[1] // 4, 8)
            for block in self.blocks:
                x = block(x)
            return x

    with pytest.raises(
        coupling.CouplingError, match="with 4 sequences for one input, as in models that split an image"
    ):
        coupling.record(Windows(), {"input_ids": make_ids(0, 12)})
    batch = {"input_ids": torch.cat([make_ids(0), make_ids(1)])}
    with pytest.raises(coupling.CouplingError, match="of one prompt, but the batch contains 2"):
        coupling.record(make_model("llama"), batch)


class Failing(torch.nn.Module):
    """Two linear blocks; what is called after them may raise."""

    def __init__(self, after):
        super().__init__()
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)])
        self.after = after

    def forward(self, input_ids):
        x = torch.ones(1, input_ids.shape[1], 8)
        for block in self.blocks:
            x = block(x)
        return self.after(x)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (lambda x: x / (8 // 0), "the forward pass of Failing fails: ZeroDivisionError: integer division or modulo by"),
        (lambda x: x.no_such, "fails: AttributeError: 'Tensor' object has no attribute 'no_such'"),
        (lambda x: {}["weights"], "fails: KeyError: 'weights'"),
        (lambda x: x + "\n", "fails: TypeError: "),
        (lambda x: x @ x, "fails: Expected|fails: mat1|fails: .*shape|fails: .*size"),
        (lambda x: x[:, 99], "fails: index 99 is out of bounds|beyond the model's embedding table"),
    ],
)
def test_whatever_a_model_raises_is_one_line(after, message):
    with pytest.raises(coupling.CouplingError, match=message) as caught:
        coupling.record(Failing(after), {"input_ids": make_ids()})
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None  # with the place of the error


def test_an_error_of_this_package_stays_what_it_is(monkeypatch):
    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr("coupling.models.forward.BlockCall.of", broken)
    with pytest.raises(KeyError, match="a bug"):
        coupling.record(make_model("llama"), {"input_ids": make_ids()})


def test_an_attention_that_only_the_models_own_code_can_call(monkeypatch):
    """The recording attention fails, and the model's own does not: it is used."""
    expected = coupling.measure(make_model("llama"), make_ids(), k=4)

    def unknown(*_, **__):
        raise ZeroDivisionError("an attention call of an unknown form")

    monkeypatch.setattr("coupling.models.attention.Tape.record", unknown)
    run = coupling.measure(make_model("llama"), make_ids(), k=4)
    assert np.allclose(run.mismatch, expected.mismatch, atol=1e-5)
