"""Checkpoints of the hub in the cache."""

from pathlib import Path

import pytest

from coupling.analyses.sweep import hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with two revisions of a model; they share the tokenizer."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(folder), raising=False)
    repository = folder / "models--org--model"
    for name, size in (("shared", 10), ("one", 1000), ("two", 2000)):
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        (repository / "blobs" / name).write_bytes(b"x" * size)
    for number, weights in ((1, "one"), (2, "two")):
        snapshot = repository / "snapshots" / f"{number:040x}"
        snapshot.mkdir(parents=True)
        (snapshot / "tokenizer.json").symlink_to("../../blobs/shared")
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{weights}")
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / f"step{number}").write_text(f"{number:040x}")
    return folder


def test_what_is_cached(cache):
    assert hub.is_cached("org/model", "step1")
    assert hub.is_cached("org/model", f"{2:040x}")
    assert not hub.is_cached("org/model", "step3")
    assert not hub.is_cached("org/model", "")
    assert not hub.is_cached("org/other", "step1")
    assert [hub.size_on_disk("org/model", f"step{number}") for number in (1, 2, 3)] == [1000, 2000, 0]


def test_deleting_leaves_what_others_share(cache, monkeypatch):
    from huggingface_hub import scan_cache_dir

    monkeypatch.setattr("huggingface_hub.scan_cache_dir", lambda: scan_cache_dir(cache))
    hub.delete([f"{1:040x}", "unknown"])
    assert not hub.is_cached("org/model", "step1")
    assert hub.is_cached("org/model", "step2")
    blobs = {path.name for path in (cache / "models--org--model" / "blobs").iterdir()}
    assert blobs == {"shared", "two"}


def test_a_download_takes_what_a_measurement_needs(monkeypatch):
    asked = {}

    def snapshot_download(model, *, revision, allow_patterns):
        asked[model] = revision, allow_patterns
        return f"/cache/snapshots/{revision}"

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert hub.download("org/model", "step1") == {"commit": "step1"}
    assert "*.safetensors" in asked["org/model"][1]
    assert "*.bin" not in asked["org/model"][1]
    hub.download("org/model", "", pickle=True)
    assert asked["org/model"][0] is None
    assert "*.bin" in asked["org/model"][1]


def test_a_download_that_fails_says_why():
    assert "error" in hub.download("org/none", "step1")  # the tests run offline


def test_weights_on_disk(tmp_path):
    assert hub.weight_bytes(tmp_path) == 0
    Path(tmp_path / "model.gguf").write_bytes(b"x" * 7)
    assert hub.weight_bytes(tmp_path) == hub.weight_bytes(tmp_path / "model.gguf") == 7


def test_progress_bars_are_off():
    assert hub.quiet_environment()["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
