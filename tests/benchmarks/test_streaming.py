"""The benchmark of streaming, on a checkpoint of a few megabytes."""

from pathlib import Path

import pytest

from benchmarks import streaming
from coupling.models.loading import load


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "WIDTH", 64)
    monkeypatch.setattr(
        streaming, "INSIDE", {name: (streaming.MLP if rows == 11008 else 64, streaming.MLP if columns == 11008 else 64)
                              for name, (rows, columns) in streaming.INSIDE.items()}
    )  # fmt: skip
    streaming.write_checkpoint(tmp_path, 1e6, 4)
    return tmp_path


def test_the_checkpoint_has_its_size_and_loads(small: Path):
    size = sum(file.stat().st_size for file in small.glob("*.safetensors"))
    assert 1e6 < size < 1.4e6
    checkpoint = load(str(small), stream=True)
    assert len(checkpoint.offloaded.modules) == 4
    weights = [next(checkpoint.offloaded._tensors(module))[1] for module in checkpoint.offloaded.modules]
    assert all(not weights[0].equal(other) for other in weights[1:])
    checkpoint.offloaded.close()


def test_the_figures(small: Path):
    figures = streaming.measure(small, 2 * 10**9)
    assert figures["blocks"] == 4
    assert figures["width"] == 64
    assert figures["reads_of_a_block"] == [1, 2]
    assert 0 <= figures["peak_bytes"] < figures["limit_bytes"]
