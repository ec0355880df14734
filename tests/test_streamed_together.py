"""Streamed prompts of equal length are measured in common passes, with the numbers that they have in memory."""

import pytest
import torch

import coupling
from coupling.linalg.jacobian import ManyJacobians
from coupling.models import together
from coupling.netcdf import to_bytes
from coupling.streamed_together import LaterRows
from tests.streaming import assert_equal_to_rounding, write_checkpoint
from tests.test_streamed import LLAMA_SETTINGS, Stopped, stopping_at

PROMPTS = ["x = 5", "import os", "y = 6", "z = 7"]
"""The second has another length than the others."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama", max_shard_size="40KB")


@pytest.fixture
def passes(monkeypatch):
    """The number of Jacobians of each common pass."""
    counts: list[int] = []
    to_dense = ManyJacobians.to_dense

    def counted(self):
        counts.append(len(self.value))
        return to_dense(self)

    monkeypatch.setattr(ManyJacobians, "to_dense", counted)
    return counts


@pytest.mark.parametrize("name", LLAMA_SETTINGS)
def test_together_from_disk_and_in_memory_are_equal_to_rounding(llama, name):
    options = {"prompts": PROMPTS, "k": (3, 5), "batch_size": 3, **LLAMA_SETTINGS[name]}
    streamed = coupling.analyze(str(llama), stream=True, **options)
    assert_equal_to_rounding(streamed, coupling.analyze(str(llama), **options))
    assert streamed.batch.values.tolist() == [3, 1, 3, 3]


def test_one_pass_makes_the_jacobians_of_all_prompts_of_a_length(llama, passes):
    options = {"prompts": PROMPTS, "k": 3, "stream": True}
    together_run = coupling.analyze(str(llama), batch_size=3, **options)
    assert passes == [3] * 5  # of three blocks, and of the first two again
    passes.clear()
    alone = coupling.analyze(str(llama), batch_size=1, **options)
    assert passes == []
    assert alone.batch.values.tolist() == [1] * 4
    assert abs(together_run.mismatch - alone.mismatch).max() < 1e-5


def test_matrices_that_the_memory_does_not_keep_are_made_again(llama, monkeypatch):
    options = {"prompts": PROMPTS, "k": 3, "stream": True, "batch_size": 3, "kind": "self"}
    kept = coupling.analyze(str(llama), **options)
    monkeypatch.setattr("coupling.resources.Resources.kept_bytes", 1)
    assert_equal_to_rounding(coupling.analyze(str(llama), **options), kept)


def test_memory_that_runs_out_is_halved(llama, monkeypatch):
    options = {"prompts": PROMPTS, "k": 3, "stream": True, "batch_size": 3}
    whole = coupling.analyze(str(llama), **options)
    tries = []
    dense_together = together.dense_together

    def failing(places, block, memory):
        tries.append(memory)
        if len(tries) == 1:
            raise torch.OutOfMemoryError
        return dense_together(places, block, memory)

    monkeypatch.setattr("coupling.factory.dense_together", failing)
    with pytest.warns(coupling.errors.CouplingWarning, match="out of memory"):
        run = coupling.analyze(str(llama), **options)
    assert_equal_to_rounding(run, whole)
    assert tries[1] == tries[0] / 2


@pytest.mark.parametrize("step", [3, 5, 8, 11, 13])
def test_a_resumed_run_is_equal_bit_for_bit(llama, tmp_path, step):
    options = {"prompts": PROMPTS, "k": 3, "stream": True, "batch_size": 3}
    whole = coupling.analyze(str(llama), **options)
    with pytest.raises(Stopped):
        coupling.analyze(str(llama), out=tmp_path / "run", progress=stopping_at(step), **options)
    assert to_bytes(coupling.analyze(str(llama), out=tmp_path / "run", resume=True, **options)) == to_bytes(whole)


@pytest.mark.parametrize("kind", ["factors", "rows"])
def test_a_batch_that_was_saved_in_part_is_made_as_a_whole_again(llama, tmp_path, monkeypatch, passes, kind):
    """Alone, the prompts that are missing would have other last digits."""
    options = {"prompts": PROMPTS, "k": 3, "stream": True, "batch_size": 3}
    whole = coupling.analyze(str(llama), **options)
    saved = []
    owner, name = {"factors": (coupling.streamed_prompt.StreamedPrompt, "measure"), "rows": (LaterRows, "save")}[kind]
    own = getattr(owner, name)

    def stopping(self, *args):
        own(self, *args)
        saved.append(self)
        if len(saved) == 2:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        with pytest.raises(Stopped):
            coupling.analyze(str(llama), out=tmp_path / "run", **options)
    passes.clear()
    assert to_bytes(coupling.analyze(str(llama), out=tmp_path / "run", resume=True, **options)) == to_bytes(whole)
    assert set(passes) == {3}


def test_prompts_that_follow_complete_a_batch_which_is_then_measured_again(llama, tmp_path):
    options = {"k": 3, "stream": True, "batch_size": 3, "detail": "none"}
    coupling.analyze(str(llama), prompts=PROMPTS[:3], out=tmp_path / "run", **options)
    longer = coupling.analyze(str(llama), prompts=PROMPTS, out=tmp_path / "run", resume=True, **options)
    assert to_bytes(longer) == to_bytes(coupling.analyze(str(llama), prompts=PROMPTS, **options))
    with pytest.raises(Stopped):
        coupling.analyze(str(llama), prompts=PROMPTS[:3], out=tmp_path / "other", progress=stopping_at(9), **options)
    longer = coupling.analyze(str(llama), prompts=PROMPTS, out=tmp_path / "other", resume=True, **options)
    assert to_bytes(longer) == to_bytes(coupling.analyze(str(llama), prompts=PROMPTS, **options))
