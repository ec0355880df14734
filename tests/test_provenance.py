"""The origin of the numbers."""

import torch
import transformers

import coupling
from coupling.provenance import parameter_count, timm_hash, weights_hash
from tests.helpers import GROUPED, make_model
from tests.vision import make_timm


def test_one_checkpoint_has_one_number_of_parameters(tmp_path):
    """The output matrix counts, whether or not the class that was loaded has it."""
    config = transformers.LlamaConfig(**GROUPED, tie_word_embeddings=False)
    whole = transformers.LlamaForCausalLM(config)
    whole.save_pretrained(tmp_path)
    expected = sum(p.numel() for p in whole.parameters())
    for loader in (transformers.AutoModel, transformers.AutoModelForCausalLM):
        assert parameter_count(loader.from_pretrained(tmp_path)) == expected


def test_tied_weights_count_once(tmp_path):
    config = transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True)
    whole = transformers.LlamaForCausalLM(config)
    whole.save_pretrained(tmp_path)
    assert parameter_count(transformers.AutoModel.from_pretrained(tmp_path)) == sum(
        p.numel() for p in whole.parameters()
    )


def test_a_class_that_names_no_architecture_counts_as_it_is():
    model = make_model("llama")
    assert parameter_count(model) == sum(p.numel() for p in model.parameters())


def test_the_hash_sees_one_changed_weight():
    model = make_model("llama")
    before = weights_hash(model)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    assert weights_hash(model) != before
    assert coupling.measure(model, torch.arange(3, 9), k=2, hash_weights=False).attrs["weights_hash"] == ""


def test_the_hash_of_a_timm_model_sees_what_its_weights_do_not():
    usual = timm_hash(make_timm())
    assert usual == timm_hash(make_timm().train())  # how it is used does not count
    assert usual != timm_hash(make_timm(num_heads=4))
    assert timm_hash(torch.nn.Linear(2, 2)) == ""
