"""Which checkpoints are streamed, and in one line why others are not."""

import json

import pytest
import torch
import transformers

import coupling
from coupling.errors import CouplingError
from coupling.models import stream_loading
from coupling.models.folder import Found
from coupling.models.loading import load
from coupling.models.stream_loading import is_streamed, why_not
from tests.helpers import BUNDLED
from tests.streaming import write_checkpoint


def test_auto_streams_what_does_not_fit(tmp_path, monkeypatch):
    config = transformers.AutoConfig.from_pretrained(BUNDLED)
    from coupling.models.folder import check_checkpoint_folder
    from coupling.models.size import stored_numbers

    found = check_checkpoint_folder(tmp_path.__class__(BUNDLED), "bundled", weights=True)
    needed = 4 * stored_numbers(found)
    for memory, expected in ((needed, True), (2 * needed, False), (None, False)):
        monkeypatch.setattr(stream_loading, "memory_of", lambda device, memory=memory: memory)
        assert is_streamed("auto", None, "x", config, found, torch.float32, "cpu") is expected
        assert not is_streamed("auto", "a reason", "x", config, found, torch.float32, "cpu")
    assert is_streamed(True, None, "x", config, Found(found.folder, "none"), torch.float32, "cpu")
    assert not is_streamed(False, None, "x", config, found, torch.float32, "cpu")


def test_auto_is_the_default(monkeypatch):
    monkeypatch.setattr(stream_loading, "memory_of", lambda device: 2**20)
    seen = []
    from coupling import session

    run = session.StreamedMeasurement.run
    monkeypatch.setattr(session.StreamedMeasurement, "run", lambda self: (seen.append(1), run(self)))
    coupling.analyze(prompts=["a"], k=2)
    assert seen


def test_reasons():
    config = transformers.AutoConfig.from_pretrained(BUNDLED)
    assert why_not(config, "safetensors", is_adapter=False, is_random=False) is None
    assert why_not(config, None, is_adapter=False, is_random=False) is None
    assert "GGUF" in why_not(config, "gguf", is_adapter=False, is_random=False)
    assert "safetensors" in why_not(config, "bin", is_adapter=False, is_random=False)
    assert "merge and save" in why_not(config, "safetensors", is_adapter=True, is_random=False)
    assert "drawn" in why_not(config, "safetensors", is_adapter=False, is_random=True)
    config.quantization_config = {"quant_method": "fp8"}
    assert "quantized by fp8" in why_not(config, "safetensors", is_adapter=False, is_random=False)


def test_what_cannot_be_streamed_is_refused_in_one_line(tmp_path):
    with pytest.raises(CouplingError, match=r"^bundled cannot be streamed from disk: random weights"):
        load(stream=True, random_weights=0)
    with pytest.raises(CouplingError, match="timm loads its models as a whole"):
        load("timm:vit_tiny_patch16_224", stream=True)
    with pytest.raises(CouplingError, match="`stream` is 'yes'"):
        load(stream="yes")
    folder = write_checkpoint(tmp_path / "model", "llama")
    content = json.loads((folder / "config.json").read_text())
    content["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CouplingError, match="quantized by fp8 are converted as a whole"):
        load(str(folder), stream=True)
