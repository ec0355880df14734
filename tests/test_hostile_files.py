"""Every format that is read, damaged in every way that hypothesis finds: a result, or one line that says what is wrong.

Nothing but ``CouplingError`` may be raised, and its message is one short line that a terminal can show
(``tests.hostile``).
"""

import json
import os
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coupling
from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.cli.output import PlainConsole
from coupling.cli.render.comparison import print_comparison
from coupling.cli.render.run import print_run
from coupling.figures.columns import read_table
from coupling.models.chat import render
from coupling.models.folder import check_checkpoint_folder
from coupling.models.images import read_images
from coupling.models.loading import load
from coupling.models.prompts import read_prompts
from coupling.models.tokenization import tokenize
from coupling.run_folder import open_run, read_summary
from coupling.summary import compare_runs, summarize
from coupling.untrusted import parse_json, parse_yaml
from tests.helpers import BUNDLED
from tests.hostile import BYTES, ODD, ODD_NUMBERS, ODD_TEXTS, OneLine, damaged_bytes, damaged_json, tries
from tests.vision import make_timm, save_picture, save_timm, save_vit

# Prompts


@tries(60)
@given(
    content=BYTES | st.lists(ODD, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    suffix=st.sampled_from([".txt", ".jsonl", ".csv"]),
    chat=st.booleans(),
)
def test_prompts(tmp_path, content, suffix, chat):
    path = tmp_path / f"prompts{suffix}"
    path.write_bytes(content)
    with OneLine():
        prompts = read_prompts(str(path), chat=chat)
        "\0".join(prompts.texts).encode()


@tries(40)
@given(item=ODD, chat=st.booleans())
def test_prompts_of_a_caller(item, chat):
    with OneLine():
        read_prompts([item], chat=chat)
    if isinstance(item, str):
        with OneLine():
            read_prompts(item)


# Benchmark scores

HARNESS = {
    "results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.1}, "mmlu": {"acc,none": 0.3}},
    "group_subtasks": {"mmlu": ["mmlu_a"]},
    "config": {"model": "hf", "model_args": {"pretrained": "a/b"}},
    "model_name": "a/b",
    "date": 1.5,
}


@tries(80)
@given(content=damaged_json(HARNESS))
def test_harness_results(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    for source in (tmp_path, tmp_path / "results.json"):
        with OneLine():
            read_scores(str(source))


@tries(60)
@given(content=damaged_bytes(b'model,family,parameters,arc,"mm lu"\na,x,1e6,1.5,2\nb,y,2,3%,\n') | BYTES)
def test_tables_of_scores(tmp_path, content):
    (tmp_path / "scores.csv").write_bytes(content)
    with OneLine():
        read_scores(str(tmp_path / "scores.csv"))


@tries(60)
@given(
    content=damaged_bytes(b"step,reward,ess,seed,run\n1,0.5,0.9,0,a\n2,0.6,,0,a\n") | BYTES,
    picture=st.sampled_from(["rl", "scatter", "dynamics"]),
)
def test_tables_of_pictures(tmp_path, content, picture):
    (tmp_path / "table.csv").write_bytes(content)
    with OneLine():
        read_table(tmp_path / "table.csv", picture)


# Texts in JSON and YAML


@tries(60)
@given(text=st.text(max_size=40) | ODD.map(json.dumps))
def test_json_and_yaml_texts(text):
    for parse in (parse_json, parse_yaml):
        with OneLine():
            parse(text, "a file")


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A copy of the bundled checkpoint whose weights are a link."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    folder.mkdir()
    for file in Path(BUNDLED).iterdir():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file)
        else:
            shutil.copy(file, folder)
    return folder


def json_of(name: str) -> dict:
    return json.loads((Path(BUNDLED) / name).read_text(encoding="utf-8"))


def load_with(folder: Path, name: str, content: bytes, **options: object) -> None:
    """Load a checkpoint of which one file is replaced, and tokenize a text with it."""
    usual = (folder / name).read_bytes() if (folder / name).exists() else None
    (folder / name).write_bytes(content)
    try:
        with OneLine(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load(str(folder), **options)
            text = "import os"
            if "chat" in options or "chat_template" in str(content):
                text = render(loaded.tokenizer, loaded.name, [[{"role": "user", "content": text}]])[0]
            tokenize(loaded, [text])
    finally:
        (folder / name).unlink()
        if usual is not None:
            (folder / name).write_bytes(usual)


@tries(25)
@given(content=damaged_json(json_of("config.json")))
def test_configurations(checkpoint, content):
    load_with(checkpoint, "config.json", content)


@tries(15)
@given(content=damaged_json(json_of("config.json")))
def test_configurations_of_untrained_models(checkpoint, content):
    """What can be built is also measured: its forward pass may fail."""
    usual = (checkpoint / "config.json").read_bytes()
    (checkpoint / "config.json").write_bytes(content)
    try:
        with OneLine(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coupling.analyze(str(checkpoint), ["import os"], k=(1,), random_weights=True)
    finally:
        (checkpoint / "config.json").write_bytes(usual)


@tries(15)
@given(content=damaged_json(json_of("tokenizer_config.json") | {"chat_template": "{{ messages[0].content }}"}))
def test_configurations_of_tokenizers(checkpoint, content):
    load_with(checkpoint, "tokenizer_config.json", content, random_weights=0)


@tries(15)
@given(content=damaged_json(json_of("tokenizer.json")))
def test_tokenizers(checkpoint, content):
    load_with(checkpoint, "tokenizer.json", content, random_weights=0)


@tries(40)
@given(content=damaged_json({"metadata": {}, "weight_map": {"a.weight": "a.safetensors", "b.weight": "b.safetensors"}}))
def test_indices(tmp_path, content):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with OneLine():
        check_checkpoint_folder(tmp_path, "model", weights=True)


@tries(30)
@given(
    content=damaged_json(
        {
            "base_model_name_or_path": BUNDLED,
            "peft_type": "LORA",
            "r": 4,
            "target_modules": ["q_proj"],
            "task_type": "CAUSAL_LM",
            "revision": None,
            "auto_mapping": None,
        }
    )
)
def test_configurations_of_adapters(tmp_path, content):
    pytest.importorskip("peft")
    from coupling.models.adapters import read_adapter

    (tmp_path / "adapter_config.json").write_bytes(content)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with OneLine():
        read_adapter(tmp_path, "adapter", None)


def gguf_bytes() -> bytes:
    """A GGUF file with a key of every kind and one tensor."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 1),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("scores") + struct.pack("<IIQff", 9, 6, 2, 0.0, 1.0),
    ]
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return header + b"\0" * (-len(header) % 32) + struct.pack("<8f", *range(8))


@tries(60)
@given(content=damaged_bytes(gguf_bytes()))
def test_gguf_files(tmp_path, content):
    pytest.importorskip("gguf")
    (tmp_path / "model.gguf").write_bytes(content)
    with OneLine():
        load(str(tmp_path / "model.gguf"))


# Images


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Checkpoints of image models, and the bytes of an image in several formats."""
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("vision")
    save_vit(folder / "vit")
    save_timm(folder / "timm", make_timm())
    for suffix in ("png", "jpg", "webp", "gif", "tif"):
        save_picture(folder / f"a.{suffix}", size=(9, 8))
    np.save(folder / "a.npy", np.zeros((2, 8, 8, 3), np.uint8))
    return folder


@tries(60)
@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "webp", "gif", "tif", "npy"]))
def test_images(vision, tmp_path, data, suffix):
    usual = (vision / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(data.draw(damaged_bytes(usual) | BYTES))
    with OneLine(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_images(str(tmp_path / f"a.{suffix}"))


@tries(25)
@given(data=st.data(), name=st.sampled_from(["vit/preprocessor_config.json", "vit/config.json", "timm/config.json"]))
def test_configurations_of_image_models(vision, data, name):
    usual = (vision / name).read_bytes()
    (vision / name).write_bytes(data.draw(damaged_json(json.loads(usual))))
    try:
        with OneLine(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coupling.analyze(str((vision / name).parent), images=str(vision / "a.png"), k=(1,), random_weights=True)
    finally:
        (vision / name).write_bytes(usual)


# Runs


def use(folder: Path, other: Path) -> None:
    """Read a run, and do with it what the commands do."""
    run = open_run(folder)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = PlainConsole(file=nowhere, width=100)
        print_run(summarize(run), console, all_variants=True)
        print_comparison(compare_runs(run, open_run(other)), ("a", "b"), console)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "run"
    coupling.analyze(prompts=["import os"], k=(2,), detail="none", out=folder)
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


@tries(40)
@given(content=damaged_json({"identity": {"k": [2]}, "timings": {"load_seconds": 1.0}, "provenance": {"model": "a"}}))
def test_summaries_of_runs(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with OneLine():
        read_summary(tmp_path)


@tries(12)
@given(content=st.data())
def test_damaged_runs(saved, tmp_path, content):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run.nc").write_bytes(content.draw(damaged_bytes((saved / "run.nc").read_bytes())))
    with OneLine():
        use(tmp_path, saved.with_name("copy"))


@tries(12)
@given(name=ODD_TEXTS, value=ODD_TEXTS | ODD_NUMBERS, key=st.sampled_from(["model", "dtype", "engine", "kind"]))
def test_odd_attributes_of_runs(saved, name, value, key):
    run = open_run(saved)
    run.attrs |= {name or "empty": value, key: value}
    with open(os.devnull, "w", encoding="utf-8") as nowhere, OneLine():
        print_run(summarize(run), PlainConsole(file=nowhere, width=100))
