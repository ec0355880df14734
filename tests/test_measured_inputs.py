"""Inputs that are measured together: the numbers of each alone, in every kind; order, detail, faults and memory."""

import numpy as np
import pytest
import torch

import coupling
from coupling import measured_inputs, measurement
from coupling.errors import CouplingError, CouplingWarning
from coupling.models import recording_together, together
from tests.helpers import make_ids, make_model

KINDS = [
    ("depth", {}),
    ("depth", {"tokens": "all"}),
    ("self", {"tokens": (1, 3, 6)}),
    ("self", {"tokens": (1, 3), "block_pairs": [(0, 2)]}),
    ("context-input", {}),
    ("context-output", {}),
]
PROMPTS = [make_ids(0), make_ids(1, 8), make_ids(2), make_ids(3), make_ids(4, 8)]
MANY = 9
"""Prompts that are recorded in one pass."""


def same(a, b, atol=2e-6):
    assert set(a.variables) == set(b.variables)
    for name in a.data_vars:
        if a[name].dtype.kind == "f" and not name.endswith(("angle", "value_error")):
            scale = max(1.0, float(np.nanmax(np.abs(a[name].values))))
            np.testing.assert_allclose(b[name].values, a[name].values, rtol=0, atol=atol * scale, err_msg=name)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_numbers_are_those_of_each_prompt_alone(name, kind, options):
    model = make_model(name)
    alone = coupling.measure(model, PROMPTS, k=3, kind=kind, batch_size=1, **options)
    joint = coupling.measure(model, PROMPTS, k=3, kind=kind, **options)
    same(alone, joint)
    assert alone.batch.values.tolist() == [1] * 5
    assert joint.batch.values.tolist() == [3, 2, 3, 3, 2]


@pytest.mark.parametrize(("kind", "options"), [KINDS[0], KINDS[2]])
@pytest.mark.parametrize("name", ["llama", "bert", "gpt_oss", "bloom"])
def test_numbers_of_prompts_recorded_in_one_pass_are_those_of_each_alone(name, kind, options):
    model, prompts = make_model(name), [make_ids(seed) for seed in range(MANY)]
    alone = coupling.measure(model, prompts, k=3, kind=kind, batch_size=1, **options)
    joint = coupling.measure(model, prompts, k=3, kind=kind, **options)
    assert joint.batch.values.tolist() == [MANY] * MANY
    # the norms of a post-norm model hardly grow: rounding of the stream decides over its expodistance
    same(*(run.drop_vars("expodistance") if name == "bert" else run for run in (alone, joint)), atol=2e-5)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_small_budget_changes_no_number(kind, options, monkeypatch):
    model = make_model("llama")
    expected = coupling.measure(model, PROMPTS[:1], k=3, kind=kind, **options)
    monkeypatch.setattr("coupling.resources.Resources.kept_bytes", property(lambda self: 32 * 32 * 4 * 2))
    same(expected, coupling.measure(model, PROMPTS[:1], k=3, kind=kind, memory_budget="4MiB", **options))


def test_detail_is_kept_in_the_order_of_the_prompts(monkeypatch):
    """The third prompt is measured with the first, but the second is the one that still fits."""
    model = make_model("llama")
    sizes = [coupling.measure(model, one, k=3).projection.nbytes for one in PROMPTS]
    monkeypatch.setattr("coupling.detail.AUTO_BYTES", 3 * max(sizes) + 11 * 4 * 32 * 4 * 2)
    alone = coupling.measure(model, PROMPTS, k=3, batch_size=1)
    joint = coupling.measure(model, PROMPTS, k=3)
    assert 0 < alone.sizes["detailed_prompt"] < 5
    assert alone.detailed_prompt.values.tolist() == joint.detailed_prompt.values.tolist()


def test_progress_goes_through_all_jacobians():
    seen = []
    coupling.measure(make_model("llama"), PROMPTS, k=3, progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {3}
    assert seen[-1] == (3, 3)


def fails_at(monkeypatch, module, name, error, times):
    """Let a function raise an error the first times that it is called."""
    original, left = getattr(module, name), [times]

    def failing(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, failing)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_where_memory_runs_out_the_budget_that_is_tried_is_told(monkeypatch, error):
    model = make_model("llama")
    expected = coupling.measure(model, PROMPTS, k=3, batch_size=1)
    fails_at(monkeypatch, measured_inputs, "measure_together", error, 2)
    with pytest.warns(CouplingWarning, match="`memory_budget='512MiB'`"):
        same(expected, coupling.measure(model, PROMPTS, k=3))


def test_memory_that_runs_out_for_one_prompt_is_halved_too(monkeypatch):
    model = make_model("llama")
    expected = coupling.measure(model, PROMPTS[:1], k=3)
    fails_at(monkeypatch, together, "dense_together", None, 0)
    fails_at(monkeypatch, measurement, "make_ahead", torch.OutOfMemoryError(), 1)
    with pytest.warns(CouplingWarning, match="out of memory"):
        same(expected, coupling.measure(model, PROMPTS[:1], k=3))


class Fifth(torch.nn.Module):
    """Changes the fifth prompt of a pass, and no other."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden, *args, **kwargs):
        is_fifth = (torch.arange(len(hidden)) == 4)[:, None, None]
        return self.inner(hidden * (1 + 1e-3 * is_fifth), *args, **kwargs)


def test_a_prompt_that_is_another_one_among_others_is_noticed_at_its_jacobian(monkeypatch):
    """Only the first and the last prompt are compared when they are recorded."""
    model, prompts = make_model("llama"), [make_ids(seed) for seed in range(MANY)]
    model.layers[1] = Fifth(model.layers[1])
    expected = coupling.measure(model, prompts, k=3, batch_size=1)
    passed = []
    original = recording_together.one_pass
    monkeypatch.setattr(recording_together, "one_pass", lambda *given: passed.append(original(*given)) or passed[-1])
    same(expected, coupling.measure(model, prompts, k=3))
    assert len(passed) == 1
    assert passed[0] is not None


def test_memory_that_runs_out_while_prompts_are_recorded_is_halved_too(monkeypatch):
    model, prompts = make_model("llama"), [make_ids(seed) for seed in range(2 * MANY)]
    expected = coupling.measure(model, prompts, k=3, batch_size=1)
    fails_at(monkeypatch, recording_together, "observe", torch.OutOfMemoryError(), 1)
    with pytest.warns(CouplingWarning, match="`memory_budget='512MiB'`"):
        same(expected, coupling.measure(model, prompts, k=3), atol=2e-5)


def test_a_prompt_that_the_model_cannot_read_is_refused_among_others():
    prompts = [make_ids(seed) for seed in range(MANY)]
    prompts[4] = torch.full_like(prompts[4], 97)
    with pytest.raises(CouplingError, match="beyond the model's embedding table"):
        coupling.measure(make_model("llama"), prompts, k=3)


def test_the_prompt_at_fault_is_named(tmp_path):
    """A Jacobian that is not finite in one prompt of a batch: those before it are kept."""
    texts = ["import os", "import re", "import sys"]

    def broken(self, key, *, n_compared):
        raise CouplingError("the Jacobian contains a NaN")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coupling.measurement.make_ahead", lambda *args: iter(()))
        patch.setattr("coupling.factory.Factory.__call__", broken)
        with pytest.raises(CouplingError, match="prompt 0: the Jacobian contains a NaN"):
            coupling.analyze(prompts=texts, k=3, out=tmp_path / "run")


def test_a_batch_is_resumed_with_the_same_bytes(tmp_path):
    texts = ["import os", "import re", "def main():", "import io"]
    whole = coupling.analyze(prompts=texts, k=3, out=tmp_path / "whole")
    assert whole.batch.values.max() > 1
    from coupling.run_folder import RunFolder

    kept = RunFolder.keep

    def stops(self, prompt, dataset):
        kept(self, prompt, dataset)
        if prompt == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "keep", stops)
        with pytest.raises(KeyboardInterrupt):
            coupling.analyze(prompts=texts, k=3, out=tmp_path / "parts")
    resumed = coupling.analyze(prompts=texts, k=3, out=tmp_path / "parts", resume=True)
    assert resumed.equals(whole)


@pytest.mark.parametrize("stop", [0, 4, MANY - 2])
def test_prompts_recorded_in_one_pass_are_resumed_with_the_same_bytes(tmp_path, monkeypatch, stop):
    """Whichever prompt is the first that is missing, the pass is of all of them again."""
    from coupling.run_folder import RunFolder

    texts = [f"import {name}" for name in ("self", "data", "name", "list", "text", "file", "path", "key", "line")]
    passes, kept = [], RunFolder.keep
    original = recording_together.one_pass

    def one_pass(model, modules, inputs, ends):
        passes.append(torch.cat([one["input_ids"] for one in inputs]).tolist())
        recordings = original(model, modules, inputs, ends)
        assert recordings is not None
        return recordings

    def stops(self, prompt, dataset):
        kept(self, prompt, dataset)
        if prompt == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(recording_together, "one_pass", one_pass)
    whole = coupling.analyze(prompts=texts, k=3, out=tmp_path / "whole")
    assert whole.batch.values.tolist() == [MANY] * MANY
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "keep", stops)
        with pytest.raises(KeyboardInterrupt):
            coupling.analyze(prompts=texts, k=3, out=tmp_path / "parts")
    resumed = coupling.analyze(prompts=texts, k=3, out=tmp_path / "parts", resume=True)
    assert resumed.equals(whole)
    assert passes == passes[:1] * 3


def test_a_run_is_extended_with_the_same_bytes(tmp_path):
    """A prompt of a batch that has more prompts now is measured again, with them."""
    texts = ["import os", "import re", "import io", "import abc"]
    whole = coupling.analyze(prompts=texts, k=3, out=tmp_path / "whole")
    coupling.analyze(prompts=texts[:2], k=3, out=tmp_path / "parts")
    extended = coupling.analyze(prompts=texts, k=3, out=tmp_path / "parts", resume=True)
    assert extended.equals(whole)
    assert extended.batch.values.tolist() == whole.batch.values.tolist()
