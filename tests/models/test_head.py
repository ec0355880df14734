"""A language model's head: the loss against transformers' own, and the unembedding against the model's logits."""

import math
from pathlib import Path

import pytest
import torch
import transformers

import coupling
from coupling.errors import CouplingError
from coupling.models.blocks import find_blocks
from coupling.models.head import find_unembedding, head_of, prompt_loss
from coupling.models.loading import load
from coupling.models.tokenization import tokenize
from tests.helpers import BUNDLED

TEXT = "import os\nfor name in os.listdir():\n    print(name)\n"


@pytest.fixture(scope="module")
def bundled():
    return load()


def test_the_loss_is_that_of_transformers(bundled):
    whole = head_of(bundled)
    (arguments,) = tokenize(bundled, [TEXT])
    loss = prompt_loss(whole, bundled.tokenizer, arguments)
    reference = transformers.AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    ids = arguments["input_ids"]
    with torch.no_grad():
        expected = float(reference(ids, labels=ids).loss)
    special = int(ids[0, -1]) in bundled.tokenizer.all_special_ids
    assert not special  # every token after the first is predicted
    assert loss.nats_per_token == pytest.approx(expected, rel=1e-5)
    assert loss.tokens == ids.shape[1] - 1
    first = bundled.tokenizer.decode([int(ids[0, 0])])
    read = 0 if int(ids[0, 0]) in bundled.tokenizer.all_special_ids else len(first.encode())
    size = len(TEXT.encode()) - read
    assert loss.bits_per_byte == pytest.approx(expected * loss.tokens / math.log(2) / size, rel=1e-5)


def test_the_measured_blocks_are_those_of_the_whole_model(bundled):
    whole = head_of(bundled)
    assert whole.base_model is bundled.model
    assert whole.get_output_embeddings().weight.data_ptr() == bundled.model.get_input_embeddings().weight.data_ptr()


def test_one_token_has_no_loss(bundled):
    loss = prompt_loss(head_of(bundled), bundled.tokenizer, {"input_ids": torch.tensor([[5]])})
    assert math.isnan(loss.nats_per_token)
    assert loss.tokens == 0


def test_random_weights_are_the_same_as_without_a_head():
    random = load(random_weights=3)
    before = {name: value.clone() for name, value in random.model.named_parameters()}
    assert head_of(random).base_model is random.model
    assert all(torch.equal(before[name], value) for name, value in random.model.named_parameters())


def test_a_model_without_a_head_is_named(tmp_path):
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                     vocab_size=40)  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((Path(BUNDLED) / file).read_bytes())
    with pytest.raises(CouplingError, match="has no language-model head: its configuration names BertModel"):
        head_of(load(str(tmp_path)))


LANGUAGE_MODELS = {
    "GPT2LMHeadModel": transformers.GPT2Config(n_embd=32, n_head=2, n_layer=2, vocab_size=60),
    "LlamaForCausalLM": transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=60
    ),
    "Gemma2ForCausalLM": transformers.Gemma2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, vocab_size=60, final_logit_softcapping=2.0,
    ),
    "GPTNeoXForCausalLM": transformers.GPTNeoXConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=60
    ),
    "CohereForCausalLM": transformers.CohereConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=60, logit_scale=0.5
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_unembedding_gives_the_model_s_own_logits(name):
    torch.manual_seed(0)
    whole = getattr(transformers, name)(LANGUAGE_MODELS[name]).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.mul_(4) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    arguments = {"input_ids": torch.arange(9)[None]}
    recording = coupling.record(whole, arguments)
    _, blocks = find_blocks(whole, None)
    unembedding = find_unembedding(whole, blocks, recording, arguments)
    assert unembedding.norm is not None
    with torch.no_grad():
        logits = whole(**arguments).logits[0]
    assert torch.equal(unembedding(recording.trajectory[-1]).argsort(-1)[:, -3:], logits.argsort(-1)[:, -3:])


def test_a_head_that_does_something_else_is_refused():
    """The recording is of another model, so no norm reproduces the logits."""
    config = LANGUAGE_MODELS["GPT2LMHeadModel"]
    torch.manual_seed(0)
    whole, other = (transformers.GPT2LMHeadModel(config).eval() for _ in range(2))
    arguments = {"input_ids": torch.arange(9)[None]}
    _, blocks = find_blocks(other, None)
    with pytest.raises(CouplingError, match="cannot be read as tokens"):
        find_unembedding(other, blocks, coupling.record(whole, arguments), arguments)
