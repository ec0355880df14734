"""``coupling.analyze``: resumed runs and untrained baselines."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

import coupling
from coupling import detail
from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning
from coupling.models.loading import load
from coupling.netcdf import to_bytes
from coupling.run_files import count_measured
from tests.helpers import BUNDLED

PROMPTS = ["import os", "def f(x):\n    return x", "a = 1"]


def test_a_resumed_run_keeps_the_same_prompts(tmp_path, monkeypatch):
    whole = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "whole")
    monkeypatch.setattr(detail, "AUTO_BYTES", whole.projection[0].nbytes + whole.residual_stream[0].nbytes)
    straight = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "straight")

    def stop(prompt, *_):
        if prompt == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "resumed", progress=stop)
    resumed = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "resumed", resume=True)
    assert to_bytes(resumed) == to_bytes(straight)
    assert 0 < straight.sizes["detailed_prompt"] < 3
    with pytest.raises(CouplingError, match="differs in detail"):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "whole", resume=True, detail="none")


def _interrupted(folder, prompts=PROMPTS, at=2, **options):
    """An unfinished run with ``at`` measured prompts."""

    def stop(prompt, *_):
        if prompt == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coupling.analyze(prompts=prompts, k=2, out=folder, progress=stop, **options)


@pytest.fixture
def checkpoint(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def _edit(path, key, value):
    content = json.loads(path.read_text())
    assert content[key] != value
    path.write_text(json.dumps(content | {key: value}))


@pytest.mark.parametrize("key", ["rms_norm_eps", "hidden_act", "rope_parameters"])
def test_a_changed_configuration_is_not_resumed(tmp_path, checkpoint, key):
    config = checkpoint / "config.json"
    theta = {"rope_theta": 500.0, "rope_type": "default"}
    changed = {"rms_norm_eps": 0.1, "hidden_act": "gelu", "rope_parameters": theta, "rope_theta": 500.0}
    if key not in json.loads(config.read_text()):
        key = "rope_theta"
    _interrupted(tmp_path / "run", model=str(checkpoint))
    before = coupling.analyze(str(checkpoint), PROMPTS[:1], k=2)
    _edit(config, key, changed[key])
    with pytest.raises(CouplingError, match="contains a run that differs in config_hash"):
        coupling.analyze(str(checkpoint), PROMPTS, k=2, out=tmp_path / "run", resume=True)
    after = coupling.analyze(str(checkpoint), PROMPTS[:1], k=2)
    assert before.attrs["weights_hash"] == after.attrs["weights_hash"]
    assert before.attrs["config_hash"] != after.attrs["config_hash"]


def test_a_changed_tokenizer_is_not_resumed(tmp_path, checkpoint):
    """Also where the token ids stay the same."""
    _interrupted(tmp_path / "run", model=str(checkpoint))
    before = coupling.analyze(str(checkpoint), PROMPTS[:1], k=2).attrs
    path = checkpoint / "tokenizer.json"
    content = json.loads(path.read_text())
    first, second = list(content["model"]["vocab"].items())[-2:]
    content["model"]["vocab"] |= {first[0]: second[1], second[0]: first[1]}
    path.write_text(json.dumps(content))
    with pytest.raises(CouplingError, match="contains a run that differs in tokenizer_hash"):
        coupling.analyze(str(checkpoint), PROMPTS, k=2, out=tmp_path / "run", resume=True)
    after = coupling.analyze(str(checkpoint), PROMPTS[:1], k=2).attrs
    assert before["tokenizer_hash"] != after["tokenizer_hash"]
    assert before["inputs_hash"] == after["inputs_hash"]


def test_other_prompts_are_not_resumed_and_more_prompts_are(tmp_path):
    for finished in (False, True):
        folder = tmp_path / f"run-{finished}"
        if finished:
            coupling.analyze(prompts=PROMPTS[:2], k=2, out=folder)
        else:
            _interrupted(folder)
        with pytest.raises(CouplingError, match="another text or other token ids as prompt 1"):
            coupling.analyze(prompts=[PROMPTS[0], "b = 2", *PROMPTS[2:]], k=2, out=folder, resume=True)
        with pytest.raises(CouplingError, match="measured prompt 1, and only 1 prompts are given now"):
            coupling.analyze(prompts=PROMPTS[:1], k=2, out=folder, resume=True)
        more = [*PROMPTS, "import sys\nimport json"]
        resumed = coupling.analyze(prompts=more, k=2, out=folder, resume=True)
        whole = coupling.analyze(prompts=more, k=2)
        assert to_bytes(resumed) == to_bytes(whole)
        summary = json.loads((folder / "run.json").read_text())
        # prompt 1 has the length of a new one, with which it is measured again
        assert [second is None for second in summary["timings"]["prompt_seconds"]] == [True, False, False, False]


def test_a_damaged_part_is_measured_again_and_that_is_said(tmp_path):
    _interrupted(tmp_path / "run")
    path = tmp_path / "run" / "parts.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.warns(PromptWarning, match="damaged"):
        resumed = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "run", resume=True)
    assert to_bytes(resumed) == to_bytes(coupling.analyze(prompts=PROMPTS, k=2))


def test_an_error_after_the_first_prompt_keeps_it(tmp_path, monkeypatch):
    def fail(prompt, *_):
        if prompt == 1:
            raise OSError("no device")

    with pytest.raises(OSError, match="no device"):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "run", progress=fail)
    assert count_measured(tmp_path / "run") == 1
    with pytest.raises(OSError, match="no device"):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "other", progress=lambda *_: fail(1))
    assert not (tmp_path / "other").exists()


def test_random_weights_are_the_configuration_s_own_drawn_from_the_seed(tmp_path):
    run = coupling.analyze(prompts=PROMPTS, k=3, random_weights=True, seed=5)
    torch.manual_seed(5)
    model = AutoModel.from_config(AutoConfig.from_pretrained(BUNDLED), dtype=torch.float32).eval()
    ids = [load().tokenizer(text, return_tensors="pt")["input_ids"] for text in PROMPTS]
    expected = coupling.measure(model, ids, k=3, seed=5)
    assert np.array_equal(run.mismatch, expected.mismatch)
    assert run.attrs["weights"] == "random"
    assert coupling.analyze(prompts=PROMPTS, k=3).attrs["weights"] == "trained"
    other = coupling.analyze(prompts=PROMPTS, k=3, random_weights=True, seed=6)
    assert other.attrs["weights_hash"] != run.attrs["weights_hash"]
    excess = coupling.excess(1 - coupling.score(run, k=3), 1 - coupling.chance_score(run, k=3))
    assert abs(excess) < 0.03


def test_random_weights_need_no_weights(tmp_path):
    checkpoint = load()
    checkpoint.model.config.save_pretrained(tmp_path / "bare")
    checkpoint.tokenizer.save_pretrained(tmp_path / "bare")
    run = coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2, random_weights=True)
    assert run.sizes["block"] == 8
    with pytest.raises(CouplingError, match="contains no weights"):
        coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2)
