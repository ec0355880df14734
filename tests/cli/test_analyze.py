"""``coupling analyze`` as a user meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

import coupling
from tests.helpers import BUNDLED, refused


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
    assert "contain the same numbers" in out


def test_k_as_a_share_of_the_width(cli, tmp_path):
    code, out, _ = cli("analyze", "--limit", 1, "--k", "3,5", "--k", "10%", "--out", "run")
    assert code == 0
    assert "12 = 10%" in out  # d = 128
    assert coupling.open_run(tmp_path / "run").k.values.tolist() == [3, 5, 12]
    rows = json.loads(cli("show", "run", "--k", "10%", "--json")[1])["scores"]
    assert {(row["k"], row["k_name"]) for row in rows} == {(12, "12 = 10%")}
    assert cli("plot", "run", "--picture", "heatmap", "--k", "10%", "-o", "heatmap.svg")[0] == 0
    assert "K = 10%" in (tmp_path / "heatmap.svg").read_text()
    assert cli("plot", "run", "--picture", "grid", "--k", "10%", "-o", "grid.png")[0] == 0
    refused(cli("show", "run", "--k", "20%"), "not measured at K = 20% (25 of d = 128)")
    refused(cli("analyze", "--k", "ten"), "K is 'ten'", code=2)
    refused(cli("analyze", "--k", "0"), "K is 0", code=2)
    refused(cli("analyze", "--limit", 1, "--k", "0.1%", "--out", "other"), "d = 128: less than one")


def test_the_preset_of_the_paper(cli, tmp_path):
    code, out, _ = cli("analyze", "--limit", 1, "--preset", "paper", "--out", "run")
    run = coupling.open_run(tmp_path / "run")
    assert code == 0
    score = f"score {coupling.score(run, '10%', 1):.4f}, chance {coupling.chance_score(run, '10%', 1):.4f}"
    assert "preset paper, in all likelihood" in out
    assert score in out
    refused(cli("analyze", "--preset", "paper", "--k", 5), "--preset paper sets --k to 10%, and 5 was given")


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
        "--dtype", "float64", "--device", "cpu", "--block-list", "model.layers", "--truncate", "--out", "run", "--json",
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


def test_truncate_cuts_to_the_context(cli):
    code, _, err = cli("analyze", "--prompts", "x = 1\n" * 500, "--truncate", "--k", 2, "--out", "run", "--quiet")
    assert code == 0, err
    assert coupling.open_run("run").n_tokens.values.tolist() == [256]


def test_chats_and_special_tokens(cli, tmp_path):
    bos = "<|endoftext|>"
    shutil.copytree(BUNDLED, tmp_path / "model")
    tokenizer = Tokenizer.from_file("model/tokenizer.json")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    tokenizer.save("model/tokenizer.json")
    config = json.loads(Path("model/tokenizer_config.json").read_text())
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    Path("model/tokenizer_config.json").write_text(json.dumps(config | {"bos_token": bos, "chat_template": template}))
    Path("chats.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "x = 1"}]}))
    common = ("analyze", "model", "--k", 2, "--quiet")
    assert cli(*common, "--prompts", "chats.jsonl", "--chat", "--out", "a") == (0, "", "")
    assert cli(*common, "--prompts", "x = 1", "--out", "b") == (0, "", "")
    assert cli(*common, "--prompts", "x = 1", "--no-special-tokens", "--out", "c") == (0, "", "")
    a, b, c = (coupling.open_run(name) for name in "abc")
    assert a.token_text.values.tolist() == b.token_text.values.tolist()
    assert int(c.n_tokens[0]) == int(b.n_tokens[0]) - 1
    assert (a.attrs["chat"], a.attrs["special_tokens"], b.attrs["special_tokens"]) == (1, 0, 1)
    code, _, err = cli(*common, "--prompts", f"{bos}{bos}x", "--out", "d")
    assert code == 0
    assert err == f"warning: 1 of 1 prompts begin with two BOS tokens ({bos}), which are measured as they are\n"


def test_an_adapter_against_its_base(cli):
    import peft
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["up_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.peft_config["default"].base_model_name_or_path = "/nowhere"
    adapted.save_pretrained("adapter")
    refused(cli("analyze", "adapter", "--out", "run"), "no folder /nowhere", "--base names another")
    for model_name, options in (("adapter", ["--base", BUNDLED]), (BUNDLED, [])):
        code, _, err = cli("analyze", model_name, *options, "--limit", 2, "--k", 3, "--quiet", "--out",
                           "base" if model_name == BUNDLED else "adapted")  # fmt: skip
        assert (code, err) == (0, "")
    code, out, err = cli("diff", "base", "adapted", "--json")
    assert code == 0, err
    assert json.loads(out)["identical"] is False
    assert coupling.open_run("adapted").attrs["base"] == BUNDLED
