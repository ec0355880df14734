"""PEFT adapters are measured merged into the model that they were trained on."""

import json
import shutil
import sys

import peft
import pytest
import torch
import transformers

import coupling
from coupling.errors import CouplingError
from coupling.models.loading import load
from tests.helpers import BUNDLED

PROMPTS = ["import os", "def f(x):\n    return x"]


def save_adapter(folder, auto_class=transformers.AutoModelForCausalLM, config=None, base=BUNDLED):
    """A random adapter of the bundled checkpoint; the merged model, made by PEFT alone."""
    torch.manual_seed(3)
    model = auto_class.from_pretrained(BUNDLED, dtype=torch.float32)
    config = config or peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "up_proj"])
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("form", ["causal", "bare", "without a task"])
def test_an_adapter_alone_is_measured_merged(tmp_path, form):
    auto_class = transformers.AutoModel if form == "bare" else transformers.AutoModelForCausalLM
    task = {"causal": "CAUSAL_LM", "bare": "FEATURE_EXTRACTION", "without a task": None}[form]
    config = peft.LoraConfig(task_type=task, r=4, target_modules=["q_proj", "up_proj"])
    merged = save_adapter(tmp_path / "adapter", auto_class, config).merge_and_unload().eval()
    run = coupling.analyze(str(tmp_path / "adapter"), PROMPTS, k=3)
    ids = [load().tokenizer(text, return_tensors="pt")["input_ids"] for text in PROMPTS]
    expected = coupling.measure(merged, ids, k=3)
    assert abs(run.mismatch - expected.mismatch).max() < 1e-5
    assert run.attrs["adapter"] == "LORA"
    assert run.attrs["base"] == BUNDLED
    assert run.attrs["model"] == str(tmp_path / "adapter")
    assert run.attrs["weights_format"] == "safetensors"
    base = coupling.analyze(prompts=PROMPTS, k=3)
    assert abs(run.mismatch - base.mismatch).max() > 1e-2


def test_the_base_can_be_another(tmp_path):
    save_adapter(tmp_path / "adapter", base="/nowhere/base")
    with pytest.raises(CouplingError, match=r"base of the adapter .* no folder /nowhere/base.* `base` names another"):
        load(str(tmp_path / "adapter"))
    assert load(str(tmp_path / "adapter"), base=BUNDLED).base == BUNDLED


def test_learned_tokens_stay_in_front(tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = save_adapter(tmp_path / "adapter", config=config).eval()
    run = coupling.analyze(str(tmp_path / "adapter"), PROMPTS[:1], k=3)
    assert run.attrs["virtual_tokens"] == 3
    expected = coupling.measure(adapted, load().tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"], k=3)
    assert abs(run.mismatch - expected.mismatch).max() < 1e-5
    assert run.attrs["adapter"] == "PROMPT_TUNING"


def test_refusals(tmp_path, monkeypatch):
    folder = tmp_path / "adapter"
    save_adapter(folder)
    with pytest.raises(CouplingError, match="is an adapter, of which there is no untrained model"):
        load(str(folder), random_weights=0)
    shutil.copytree(folder, tmp_path / "second")
    with pytest.raises(CouplingError, match="second is itself an adapter"):
        load(str(folder), base=str(tmp_path / "second"))
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | {"base_model_name_or_path": None}))
    with pytest.raises(CouplingError, match="does not say which model it was trained on; name it with `base`"):
        load(str(folder))
    (folder / "adapter_config.json").write_text(json.dumps(content | {"target_modules": ["k_proj"]}))
    with pytest.raises(CouplingError, match=r"adapter does not fit .* weights, such as"):
        load(str(folder))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CouplingError, match=r"contains no adapter_model.safetensors .* is a pickle"):
        load(str(folder))
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("coupling.errors.find_spec", lambda name: None)
    with pytest.raises(CouplingError, match=r"an adapter needs the peft package, .* 'block-coupling\[lora\]'"):
        load(str(folder))
