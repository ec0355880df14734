"""Runs and scores meet on the model's name, messy as names are; a guess is an error."""

import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.matching import fold, join, parse_aliases
from coupling.analyses.correlation.models import families_of
from coupling.errors import CouplingError


def matched(runs, scores, aliases=None, folders=None):
    found = join(runs, scores, aliases, folders)
    return {runs[at]: score for at, score in found.pairs.items()}, dict(found.left_out)


@pytest.mark.parametrize(
    ("run", "score"),
    [
        ("EleutherAI/pythia-160m", "EleutherAI/pythia-160m"),
        ("EleutherAI/pythia-160m", "pythia-160m"),
        ("pythia_160M", "EleutherAI/pythia-160m"),
        ("./checkpoints/Pythia 160m/", "EleutherAI/pythia-160m"),
        ("someone/pythia-160m", "EleutherAI/pythia-160m"),
        ("microsoft/phi-1.5", "microsoft/phi-1_5"),
        ("C:\\models\\Phi-1_5", "microsoft/phi-1.5"),
        ("QWEN/qwen2--7b", "Qwen/Qwen2-7B"),
    ],
)
def test_names_that_are_one_model(run, score):
    assert matched([run], ["gpt2", score, "other/model"])[0] == {run: score}


@pytest.mark.parametrize(
    ("run", "score"),
    [("Llama-2-7b", "Llama-27b"), ("gpt2", "gpt2-xl"), ("pythia-160m", "pythia-160m-deduped"), ("phi-1", "phi-1.5")],
)
def test_names_that_are_two_models(run, score):
    pairs, left_out = matched([run], [score])
    assert pairs == {}
    assert "no scores for this model" in left_out[run]
    assert left_out[score] == "no run of this model"


def test_what_is_left_out_says_what_is_near():
    _, left_out = matched(["pythia-160m"], ["EleutherAI/pythia-160m-deduped", "gpt2"])
    assert "near it: EleutherAI/pythia-160m-deduped; --alias" in left_out["pythia-160m"]


def test_the_exact_name_wins():
    pairs, left_out = matched(["a/llama-7b"], ["b/llama-7b", "a/llama-7b", "llama-7b"])
    assert pairs == {"a/llama-7b": "a/llama-7b"}
    assert set(left_out) == {"b/llama-7b", "llama-7b"}


def test_an_ambiguous_match_shows_the_candidates():
    with pytest.raises(CouplingError, match=r"c/llama-7b could be a/llama-7b or b/Llama_7b of the scores; .*--alias"):
        join(["c/llama-7b"], ["a/llama-7b", "b/Llama_7b"])
    with pytest.raises(CouplingError, match=r"llama-7b of the scores could be a/llama-7b \(runs/1\) or .*runs/2"):
        join(["a/llama-7b", "b/llama-7b"], ["llama-7b"], folders=["runs/1", "runs/2"])
    with pytest.raises(CouplingError, match=r"gpt2 of the scores could be gpt2 \(runs/1\) or gpt2 \(runs/2\)"):
        join(["gpt2", "gpt2"], ["gpt2"], folders=["runs/1", "runs/2"])


def test_an_alias_settles_it():
    pairs, left_out = matched(["c/llama-7b"], ["a/llama-7b", "b/Llama_7b"], {"c/llama-7b": "b/Llama_7b"})
    assert pairs == {"c/llama-7b": "b/Llama_7b"}
    assert set(left_out) == {"a/llama-7b"}
    found = join(["gpt2", "gpt2"], ["gpt2"], {"runs/2": "gpt2"}, ["runs/1", "runs/2"])
    assert found.pairs == {1: "gpt2"}
    assert found.how == {1: "alias"}
    assert found.left_out == [("gpt2 (runs/1)", "gpt2 of the scores belongs to another run")]


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ({"gpt2": "gpt3"}, "the scores have no model gpt3; near it are gpt2"),
        ({"bert": "gpt2"}, "there is no run of bert; there are gpt2"),
        ({"gpt2": "gpt2", "runs/2": "gpt2"}, "two aliases name gpt2"),
    ],
)
def test_aliases_that_name_nothing(aliases, message):
    with pytest.raises(CouplingError, match=message):
        join(["gpt2", "opt"], ["gpt2", "opt"], aliases, ["runs/1", "runs/2"])


def test_an_alias_of_two_runs():
    with pytest.raises(CouplingError, match="names 2 runs: runs/1 or runs/2; name one by its folder"):
        join(["gpt2", "gpt2"], ["gpt2"], {"gpt2": "gpt2"}, ["runs/1", "runs/2"])


def test_how_aliases_are_written():
    assert parse_aliases(["a/b=c", " d = e=f "]) == {"a/b": "c", "d": "e=f"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(CouplingError, match="not of the form A=B"):
            parse_aliases([wrong])
    with pytest.raises(CouplingError, match="names a twice, as b and as c"):
        parse_aliases(["a=b", "a=c"])


def test_the_bundled_leaderboard_has_no_two_names_alike():
    names = read_scores("leaderboard").benchmarks.index
    assert len({fold(name) for name in names}) == len(names) == 148


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("EleutherAI/pythia-160m-deduped", "pythia"), ("Qwen/Qwen1.5-0.5B", "qwen1.5"), ("gpt2-large", "gpt2"),
        ("meta-llama/Llama-2-7b-hf", "llama-2"), ("mistralai/Mixtral-8x7B-v0.1", "mixtral"),
        ("bigscience/bloom-1b1", "bloom"), ("stabilityai/stablelm-2-1_6b", "stablelm-2"),
    ],
)  # fmt: skip
def test_families_from_names(name, family):
    assert families_of([name], ["SomeModel"]) == [family]


def test_families_from_configurations():
    assert families_of(["microsoft/phi-2"], ["PhiModel"]) == ["PhiModel"]
    assert families_of(["microsoft/phi-2"], [""]) == ["phi-2"]


def test_a_name_without_a_size_joins_the_family_that_bears_it():
    names = ["openai-community/gpt2", "gpt2-large", "bigscience/bloom", "bloom-560m", "opt 1.3b"]
    assert families_of(names, ["GPT2Model"] * 5) == ["gpt2", "gpt2", "bloom", "bloom", "opt"]


def test_another_organization_s_model_is_not_taken_by_elimination():
    with pytest.raises(CouplingError, match="could be EleutherAI/pythia-160m"):
        join(["EleutherAI/pythia-160m", "pythia-160m"], ["EleutherAI/pythia-160m", "SomeoneElse/pythia-160m"])
