"""Runs and scores meet on the model's name, however it is written; an ambiguous name is an error."""

import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.matching import fold, join, parse_aliases
from coupling.errors import CouplingError


def matched(runs, scores, aliases=None, folders=None):
    found = join(runs, scores, aliases, folders)
    return {runs[index]: score for index, score in found.pairs.items()}, dict(found.left_out)


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


def test_what_is_left_out_names_similar_models():
    _, left_out = matched(["pythia-160m"], ["EleutherAI/pythia-160m-deduped", "gpt2"])
    assert "similar names: EleutherAI/pythia-160m-deduped; an alias would join them" in left_out["pythia-160m"]


def test_the_exact_name_wins():
    pairs, left_out = matched(["a/llama-7b"], ["b/llama-7b", "a/llama-7b", "llama-7b"])
    assert pairs == {"a/llama-7b": "a/llama-7b"}
    assert set(left_out) == {"b/llama-7b", "llama-7b"}


def test_an_ambiguous_match_shows_the_candidates():
    with pytest.raises(CouplingError, match=r"c/llama-7b could be a/llama-7b or b/Llama_7b of the scores; .*`aliases`"):
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
        ({"gpt2": "gpt3"}, "the scores have no model gpt3; similar names are gpt2"),
        ({"bert": "gpt2"}, "no run is of bert; the runs are of gpt2"),
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
    with pytest.raises(CouplingError, match="name a twice, as b and as c"):
        parse_aliases(["a=b", "a=c"])


def test_no_two_names_of_the_bundled_leaderboard_fold_to_the_same():
    names = read_scores("leaderboard").benchmarks.index
    assert len({fold(name) for name in names}) == len(names) == 148


def test_another_organization_s_model_is_not_taken_by_elimination():
    with pytest.raises(CouplingError, match="could be EleutherAI/pythia-160m"):
        join(["EleutherAI/pythia-160m", "pythia-160m"], ["EleutherAI/pythia-160m", "SomeoneElse/pythia-160m"])
