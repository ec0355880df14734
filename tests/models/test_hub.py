"""What a hub repository contains: adapters and GGUF files are found there as in a folder."""

import json
import shutil
from pathlib import Path

import pytest

import coupling
from coupling.errors import CouplingError
from coupling.models import hub
from coupling.models.folder import is_local, on_hub
from coupling.models.loading import load
from tests.helpers import BUNDLED
from tests.models.test_adapters import PROMPTS, save_adapter
from tests.pretended_hub import COMMIT, serving


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The pretended hub, and the folder of its organization ``org``."""
    root = tmp_path / "hub"
    (root / "org").mkdir(parents=True)
    with serving(root, tmp_path / "cache", monkeypatch) as server:
        yield server, root / "org"


def repository(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"GGUF" if file.endswith(".gguf") else b"{}")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/name", ("org/name", "")),
        ("org/name:Q4_K_M", ("org/name", "Q4_K_M")),
        ("org/name:sub/file.gguf", ("org/name", "sub/file.gguf")),
        ("timm:vit_tiny", ("timm:vit_tiny", "")),
        ("/a/b:c", ("/a/b:c", "")),
        ("org/name:", ("org/name:", "")),
    ],
)
def test_a_file_follows_a_colon(name, expected):
    assert on_hub(name) == expected


def test_a_name_with_a_colon_is_of_the_hub_where_there_is_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local("org/name:file.gguf")
    (tmp_path / "org").mkdir()
    assert is_local("org/name:file.gguf")
    assert is_local("./org/name:file.gguf")


def test_an_adapter_of_the_hub_is_measured_as_one_in_a_folder(served, tmp_path):
    server, org = served
    save_adapter(org / "adapter")
    (org / "adapter" / "optimizer.pt").write_bytes(b"not wanted")
    run = coupling.analyze("org/adapter", PROMPTS, k=3)
    local = coupling.analyze(str(org / "adapter"), PROMPTS, k=3)
    assert abs(run.mismatch - local.mismatch).max() == 0
    assert (run.attrs["model"], run.attrs["adapter"], run.attrs["base"]) == ("org/adapter", "LORA", BUNDLED)
    assert run.attrs["commit_hash"] == COMMIT
    assert "org/adapter/optimizer.pt" not in server.downloaded
    assert "org/adapter/adapter_model.safetensors" in server.downloaded


def test_what_was_downloaded_is_measured_without_a_connection(served, monkeypatch):
    save_adapter(served[1] / "adapter")
    first = coupling.analyze("org/adapter", PROMPTS[:1], k=3)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = coupling.analyze("org/adapter", PROMPTS[:1], k=3)
    assert abs(first.mismatch - again.mismatch).max() == 0


def test_a_file_in_the_cache_is_found_without_a_connection(served, monkeypatch):
    repository(served[1] / "quants", "a-Q4_0.gguf", "b-Q6_K.gguf")
    path = hub.materialize("org/quants:Q6_K", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub.materialize("org/quants:Q6_K", None) == hub.materialize("org/quants:b-Q6_K.gguf", "main") == path
    assert hub.materialize("org/quants", COMMIT) == path  # the only one that is there
    with pytest.raises(CouplingError, match=r"in the local cache .*no GGUF file for 'Q4_0'; it has 'b-Q6_K.gguf'"):
        load("org/quants:Q4_0")
    with pytest.raises(CouplingError, match="hub cannot be reached"):
        load("org/quants:Q6_K", revision="other")


def test_whole_weights_win_over_an_adapter_beside_them(served):
    """transformers alone would load the adapter's base in their place."""
    shutil.copytree(BUNDLED, served[1] / "both")
    save_adapter(served[1] / "both", base="org/nowhere")
    run = coupling.analyze("org/both", PROMPTS[:1], k=3)
    expected = coupling.analyze(prompts=PROMPTS[:1], k=3)
    assert abs(run.mismatch - expected.mismatch).max() == 0
    assert "adapter" not in {key for key, value in run.attrs.items() if value and key in ("adapter", "base")}


def test_a_repository_that_transformers_knows_is_left_to_it(served):
    repository(served[1] / "model", "config.json", "model.safetensors", "model-Q4_K_M.gguf")
    assert hub.materialize("org/model", None) is None
    repository(served[1] / "shards", "config.json", "model.safetensors.index.json")
    assert hub.materialize("org/shards", None) is None
    assert hub.materialize("org/nothing", None) is None
    assert served[0].downloaded == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("org/quants:Q4_K_M", "model-Q4_K_M.gguf"),
        ("org/quants:q8_0", "model.Q8_0.gguf"),
        ("org/quants:model.Q8_0.gguf", "model.Q8_0.gguf"),
        ("org/quants:BF16", "BF16/model.gguf.BF16.gguf"),
        ("org/quants:BF16/model.gguf.BF16.gguf", "BF16/model.gguf.BF16.gguf"),
        ("org/one", "model-Q2_K.gguf"),
    ],
)
def test_the_file_is_found_by_its_name_or_its_quantization(served, name, file):
    repository(
        served[1] / "quants", "config.json", "model-Q4_K_M.gguf", "model.Q8_0.gguf", "mmproj-F16.gguf",
        "BF16/model.gguf.BF16.gguf",
    )  # fmt: skip
    repository(served[1] / "one", "model-Q2_K.gguf", "mmproj-model-F16.gguf")
    path = hub.materialize(name, None)
    assert path.as_posix().endswith(f"/snapshots/{COMMIT}/{file}")
    assert len(served[0].downloaded) == 1
    assert hub.commit_of(path) == COMMIT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/quants", r"could be any of 2 GGUF files \('a-Q4_0.gguf', .*name one, as in org/quants:a-Q4_0.gguf"),
        ("org/quants:Q5_K_M", r"org/quants contains no GGUF file for 'Q5_K_M'; it has 'a-Q4_0.gguf'"),
        ("org/quants:Q6_K", r"b-Q6_K-00001-of-00002.gguf is part 1 of 2, .* llama-gguf-split"),
        ("org/model:Q4_0", "org/model contains no GGUF file"),
        ("org/none:Q4_0", r"the hub has no repository org/none .*hf auth login"),
        ("org/pickled", r"adapter org/pickled contains no adapter_model.safetensors \(adapter_model.bin is a pickle"),
    ],
)  # fmt: skip
def test_refusals(served, name, message):
    repository(served[1] / "quants", "a-Q4_0.gguf", "b-Q6_K-00001-of-00002.gguf", "b-Q6_K-00002-of-00002.gguf")
    repository(served[1] / "model", "config.json", "model.safetensors")
    repository(served[1] / "pickled", "adapter_config.json", "adapter_model.bin")
    with pytest.raises(CouplingError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert served[0].downloaded == []


@pytest.mark.parametrize("name", ["org/adapter", "org/quants:Q4_K_M", "org/quants:model.gguf"])
def test_without_a_connection_and_not_in_the_cache_there_is_one_line(name, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CouplingError, match=r"the Hugging Face hub cannot be reached and .* not in the local cache"
    ) as e:
        load(name)
    assert "\n" not in str(e.value)
    assert name in str(e.value)


def test_a_path_that_may_have_been_meant_for_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CouplingError, match=r"no file org/name/f.gguf; a file on the hub is named org/name:f.gguf"):
        load("org/name/f.gguf")


@pytest.mark.slow
def test_the_base_of_an_adapter_may_be_on_the_hub(served):
    shutil.copytree(BUNDLED, served[1] / "base")
    save_adapter(served[1] / "adapter")
    configuration = served[1] / "adapter" / "adapter_config.json"  # PEFT, asked to save this name, would ask the hub
    configuration.write_text(
        json.dumps(json.loads(configuration.read_text()) | {"base_model_name_or_path": "org/base"})
    )
    run = coupling.analyze("org/adapter", PROMPTS[:1], k=3)
    assert run.attrs["base"] == "org/base"
    assert float(abs(run.mismatch - coupling.analyze(prompts=PROMPTS[:1], k=3).mismatch).max()) > 1e-3
