"""Every format that is read, damaged in every way that hypothesis finds: a result, or one line that says what is wrong.

Nothing but ``CouplingError`` may be raised, and its message is one short line that a terminal can show. Few examples
are tried by default; ``COUPLING_FUZZ=1000`` tries that many of each. This file is long because all formats share the
meaning of "one line", the checkpoints and the ways of damaging a file.
"""

import json
import os
import shutil
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coupling
from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.cli.output import PlainConsole
from coupling.cli.render.comparison import print_comparison
from coupling.cli.render.run import print_run
from coupling.errors import CouplingError
from coupling.figures.columns import read_table
from coupling.models.chat import render
from coupling.models.folder import check_checkpoint_folder
from coupling.models.loading import load
from coupling.models.prompts import read_prompts
from coupling.models.tokenization import tokenize
from coupling.run_folder import open_run, read_summary
from coupling.summary import compare_runs, summarize
from coupling.untrusted import parse_json, parse_yaml
from tests.helpers import BUNDLED

EXAMPLES = int(os.environ.get("COUPLING_FUZZ", "0"))


def tries(usual: int) -> settings:
    """Settings of a test; the same examples every time unless more are asked for."""
    return settings(
        max_examples=EXAMPLES or usual,
        deadline=None,
        derandomize=not EXAMPLES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class OneLine(suppress):
    """A context in which only a ``CouplingError`` of one short, clean line may be raised."""

    def __init__(self):
        super().__init__(CouplingError)

    def __exit__(self, kind, error, trace):
        if isinstance(error, CouplingError):
            message = str(error)
            assert message, "an error without a message"
            assert len(message) < 4000
            assert "weights_only" not in message
            assert "\n" not in message
        return super().__exit__(kind, error, trace)


ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\u2028",
        "[red]",
        "a" * 5000,
        "~nobody/x",
        "../x",
        "/dev/zero",
        "\ud800",
        "-1",
        "nan",
        "1" * 5000,
    ]
)
ODD_NUMBERS = st.sampled_from([0, -1, 1, 3, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan")])
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
BYTES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"\xff\xfea\0",
            b"[" * 100_000,
            b'{"a":' * 5000,
            b"1" * 10_000,
            b"\0" * 50,
            b"\xef\xbb\xbf",
            b'"\\ud800"',
            b"{" * 70,
        ]
    ),
)


@st.composite
def damaged_json(draw, content):
    """The bytes of a JSON document of which something is replaced, added or taken away."""
    if draw(st.integers(0, 9)) == 0:
        return draw(BYTES)
    document = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(min(len(place), 4))))
            if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        if not isinstance(place, (dict, list)) or not place:
            continue
        what = draw(st.integers(0, 5))
        if what == 0:
            del place[key]
        elif what == 1 and isinstance(place, dict):
            place[draw(ODD_TEXTS)] = draw(ODD)
        else:
            place[key] = draw(ODD)
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode()


@st.composite
def damaged_bytes(draw, content: bytes, within: int | None = None):
    """Bytes of which some are replaced, or the end is missing."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, min(len(changed), within or len(changed)) - 1))
        new = draw(
            st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f", b"\x01\0\0\0\0\0\0\x40"])
            | st.binary(min_size=1, max_size=4)
        )
        changed[place : place + len(new)] = new
    if draw(st.integers(0, 4)) == 0:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)


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
    load_with(checkpoint, "config.json", content, random_weights=0)


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
