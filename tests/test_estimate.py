"""What a run will take, against what runs took; times are for the benchmark, memory is tested here."""

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers

from coupling.errors import CouplingError
from coupling.estimate import INTERPRETER, Estimate, Rates, estimate, sizes_of
from coupling.models.narrow import FEWEST
from coupling.models.prompts import Prompts
from coupling.resources import Resources
from coupling.settings import Settings

RUN = r"""
import json, re, sys
import coupling
coupling.analyze(sys.argv[1], prompts=[sys.argv[2]], random_weights=True, **json.loads(sys.argv[3]))
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def configuration(folder, **options):
    """A folder with a configuration and the bundled tokenizer, without weights."""
    from coupling.models.loading import load

    load().tokenizer.save_pretrained(folder)
    shape = {"vocab_size": 1024, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10}
    shape |= {"num_attention_heads": 8}
    config = transformers.LlamaConfig(architectures=["LlamaModel"], **shape | options)
    config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "settings"),
    [({}, {}), ({"kind": "self", "tokens": [0, 1, 2, 3, 4]}, {"kind": "self", "tokens": (0, 1, 2, 3, 4)})],
)
def test_memory_is_within_a_factor_of_two(tmp_path, options, settings):
    folder = configuration(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), "import os, sys, re", json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    measured = int(done.stdout.splitlines()[-1])
    found = estimate(str(folder), Settings(**settings), prompts=1, length=8, device="cpu")
    assert measured / 2 < found.memory_bytes < 2 * measured
    assert found.weights_bytes == found.parameters * 4 > 10**8


def test_only_the_configuration_is_read(tmp_path):
    folder = configuration(tmp_path)
    found = estimate(str(folder), prompts=3, length=16)
    assert isinstance(found, Estimate)
    assert (found.blocks, found.width, found.jacobians, found.engine) == (10, 512, 30, "dense")
    model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder))
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert 0 < found.seconds < 600


def test_more_work_takes_longer_and_more_memory(tmp_path):
    folder = str(configuration(tmp_path))
    one, many = (estimate(folder, prompts=prompts, length=16) for prompts in (1, 1000))
    assert many.seconds > 10 * one.seconds
    every = estimate(folder, Settings(kind="self"), prompts=1, length=256, resources=Resources(memory_budget=2**32))
    assert every.memory_bytes > one.memory_bytes
    assert every.jacobians == 10 * 256


def test_prompts_in_one_forward_pass_take_less_time(monkeypatch):
    monkeypatch.setattr("coupling.estimate._calibrated", lambda *_, **__: Rates(1e11, 1e-6, 1e-3))
    together = estimate(prompts=64, length=32, device="cpu").seconds
    monkeypatch.setattr("coupling.estimate.saves_time", lambda *_: False)
    assert estimate(prompts=64, length=32, device="cpu").seconds > together


def test_a_streamed_run_has_two_blocks_in_memory(tmp_path):
    folder = str(configuration(tmp_path))
    whole, streamed = (estimate(folder, stream=stream) for stream in (False, True))
    assert streamed.streamed
    assert streamed.weights_bytes < whole.weights_bytes / 3
    assert streamed.memory_bytes - streamed.weights_bytes == whole.memory_bytes - whole.weights_bytes > INTERPRETER


def test_a_wide_model_is_measured_without_matrices(tmp_path):
    shape = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    found = estimate(str(configuration(tmp_path, **shape)), prompts=1, length=128)
    assert found.engine == "matrix-free"
    assert found.parameters > 6 * 10**10
    assert torch.isfinite(torch.tensor(found.seconds))


def test_prompts_are_counted_by_their_characters():
    assert sizes_of(Prompts(["a" * 40, "b" * 80], "test")) == (2, 15)
    assert sizes_of(Prompts(["a" * 40, "b" * 80], "test"), 1) == (1, 10)


@pytest.mark.parametrize("options", [{"prompts": 0}, {"length": 0}])
def test_nothing_to_measure_is_refused(options):
    with pytest.raises(CouplingError, match="must be at least 1"):
        estimate(**options)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(CouplingError, match="4000"):
        estimate(None, Settings(4000))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_blocks_are_counted_as_they_are_stored(tmp_path, dtype):
    """Beside them one block in float32, and what is outside of the blocks."""
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 20}
    folder = configuration(tmp_path, **shape, dtype=dtype)
    found = estimate(str(folder), Settings(), prompts=1, length=16, device="cpu", stream=False)
    block = 4 * 1024**2 + 3 * 1024 * 4096 + 2 * 1024
    outside = found.parameters - 20 * block
    assert found.parameters > FEWEST
    assert found.weights_bytes == 2 * 20 * block + 4 * (block + outside)
    half = estimate(str(folder), Settings(), prompts=1, length=16, device="cpu", stream=False, dtype=dtype)
    assert half.weights_bytes == 2 * found.parameters
