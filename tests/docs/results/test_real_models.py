"""The page's numbers and statements are those of the study's tables."""

import pandas as pd
import pytest
import torch
import transformers

import coupling
from coupling.analyses.studies.real_models.results import DISTANCES, MEASURES
from coupling.analyses.studies.real_models.study import SUBJECTS, TOKENS_PROMPTS
from tests.docs.pages import tables_of, text_of
from tests.helpers import ROOT

PAGE = "results/real-models.md"
FOLDER = ROOT / "analyses" / "studies" / "results"
WEIGHTS = ("trained", "random")
SHOWN = ("diagonal share", "aligned energy", "left overlap", "right overlap")
DISTANCES_SHOWN = (1, 2, 4, 8, 16)
KINDS_OF_TOKENS = ("self", "context-input", "context-output")
SCORE = "coupling p=2"


@pytest.fixture(scope="module")
def measures():
    return pd.read_csv(FOLDER / MEASURES)


@pytest.fixture(scope="module")
def distances():
    return pd.read_csv(FOLDER / DISTANCES)


def at(measures, kind, k="10"):
    """Rows of a kind at a K, by model, weights and measure."""
    share = measures["k_name"].str.contains("%")
    chosen = share if k == "10%" else measures["k_name"] == k
    return measures[(measures["kind"] == kind) & chosen].set_index(["model", "weights", "measure"])


def main_rows(measures):
    """Across depth, at K = 10: the excess, and the calibrated measures with their chance level."""
    found = at(measures, "depth")
    rows = []
    for subject in SUBJECTS:
        for weights in WEIGHTS:
            place = subject.name, weights
            cells = [f"{100 * found.loc[(*place, SCORE), 'excess']:.1f}%"]
            for name in SHOWN:
                row = found.loc[(*place, name)]
                cells.append(f"{row['value']:.3f} ({row['chance']:.3f})")
            rows.append([subject.name, weights, *cells])
    return rows


def paper_rows(measures):
    """The score at p = 1 and K = 10% of the width, as the paper most likely has it."""
    found = at(measures, "depth", "10%")
    rows = []
    for subject in SUBJECTS:
        cells = [str(int(found.loc[(subject.name, "trained", "coupling p=1"), "k"]))]
        for weights in WEIGHTS:
            row = found.loc[(subject.name, weights, "coupling p=1")]
            cells.append(f"{row['value']:.4f} ({row['chance']:.4f})")
        rows.append([subject.name, *cells])
    return rows


def token_rows(measures):
    """The kinds that compare tokens, of the models that were measured so, trained and random."""
    rows = []
    for kind in KINDS_OF_TOKENS:
        found = at(measures, kind)
        for subject in SUBJECTS:
            if not all((subject.name, weights, SCORE) in found.index for weights in WEIGHTS):
                continue
            cells = []
            for weights in WEIGHTS:
                place = subject.name, weights
                cells.append(f"{100 * found.loc[(*place, SCORE), 'excess']:.1f}%")
                cells.append(f"{found.loc[(*place, 'diagonal share'), 'value']:.3f}")
            rows.append([kind, subject.name, *cells])
    return rows


def distance_rows(distances):
    """The excess of trained weights by the distance of two blocks."""
    found = distances[distances["weights"] == "trained"].set_index(["model", "distance"])["excess"]
    return [
        [subject.name, *(f"{100 * found[subject.name, n]:.1f}%" if (subject.name, n) in found.index else ""
                         for n in DISTANCES_SHOWN)]
        for subject in SUBJECTS
    ]  # fmt: skip


def test_the_tables(measures, distances):
    expected = main_rows(measures), distance_rows(distances), paper_rows(measures), token_rows(measures)
    found = tables_of(PAGE)
    assert len(found) == len(expected)
    for (_, *rows), wanted in zip(found, expected, strict=True):
        assert rows == wanted


def test_the_design(measures):
    text = text_of(PAGE)
    counts = measures.groupby("kind")["prompts"].unique()
    assert counts["depth"].tolist() == [28]
    assert "on the 28 bundled prompts" in text
    assert counts.drop("depth").map(list).tolist() == [[TOKENS_PROMPTS]] * 3
    assert f"on the first {['', 'one', 'two'][TOKENS_PROMPTS]} of them" in text


def test_random_weights_are_at_chance_in_pre_norm_models_alone(measures):
    found = at(measures, "depth")
    for name in ("bundled", "SmolLM2-135M-Instruct"):
        assert abs(found.loc[(name, "random", SCORE), "excess"]) < 0.001
        assert found.loc[(name, "random", "diagonal share"), "value"] == pytest.approx(0.1, abs=0.001)
        assert found.loc[(name, "trained", "diagonal share"), "value"] > 0.25
        for measure in found.index.get_level_values("measure").unique():
            assert found.loc[(name, "random", measure), "value"] == pytest.approx(
                found.loc[(name, "random", measure), "chance"], abs=0.001
            )
            row = found.loc[(name, "trained", measure)]
            assert row["value"] > row["chance"]
    excess = found.xs(SCORE, level="measure")["excess"]["all-MiniLM-L6-v2"]
    assert excess["random"] > excess["trained"] > 0.2


def test_a_post_norm_block_with_random_weights_has_two_large_singular_values():
    """They are those of the norm: it takes out the mean and the length, and the rest passes as it is."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, vocab_size=50
    )
    run = coupling.measure(transformers.BertModel(config).eval(), torch.arange(12)[None], k=5)
    for values in run.singular_values.values[0]:
        assert values[:2] == pytest.approx([1, 1], abs=0.1)
        assert values[2] < 0.3
    assert coupling.score(run, norm=2) - coupling.chance_score(run, norm=2) > 0.2


def test_the_paper_s_score_does_not_tell_trained_from_random(measures):
    found = at(measures, "depth", "10%")
    for name in ("bundled", "SmolLM2-135M-Instruct"):
        trained, random = (found.loc[(name, weights, "coupling p=1"), "value"] for weights in WEIGHTS)
        assert trained < random
        fall = found["chance"][name, "random", "coupling p=1"] - found["chance"][name, "trained", "coupling p=1"]
        assert fall > trained - found["chance"][name, "trained", "coupling p=1"] > 0
    assert "trained weights have the *lower* score" in text_of(PAGE)
    smollm2 = found.loc[("SmolLM2-135M-Instruct", "trained", "coupling p=1"), "value"]
    assert f"`(1 - coupling) √d` = {(1 - smollm2) * 576**0.5:.2f}" in text_of("results/published-points.md")


def test_the_statements_across_depth(measures):
    found = at(measures, "depth")
    text = text_of(PAGE)
    shares = [found.loc[(name, "trained", "diagonal share"), "value"] for name in ("bundled", "SmolLM2-135M-Instruct")]
    assert f"{100 * shares[0]:.0f}% (bundled) and {100 * shares[1]:.0f}% (SmolLM2) lie on the diagonal" in text
    energy = found.loc[("SmolLM2-135M-Instruct", "trained", "aligned energy"), "value"]
    assert f"the aligned energy of SmolLM2 is {100 * energy:.0f}%" in text
    excess = [found.loc[(name, "trained", SCORE), "excess"] for name in ("bundled", "SmolLM2-135M-Instruct")]
    assert excess[0] > excess[1]
    assert shares[0] < shares[1]


def test_what_is_missing_is_said(measures):
    measured = {(kind, name) for kind, name, *_ in token_rows(measures)}
    text = text_of(PAGE)
    for kind in KINDS_OF_TOKENS:
        for subject in SUBJECTS:
            assert ((kind, subject.name) in measured) != (f"{subject.name} ({kind})" in text)


def test_coupling_falls_with_distance(distances):
    for name in ("bundled", "SmolLM2-135M-Instruct"):
        for weights, least in (("trained", 3), ("random", None)):
            part = distances[(distances["model"] == name) & (distances["weights"] == weights)]
            excess = part.set_index("distance")["excess"]
            if least is None:
                assert excess.abs().max() < 0.005
            else:
                assert excess[1] > least * excess.iloc[-1]


def test_tokens_share_directions_without_training(measures):
    for kind in KINDS_OF_TOKENS:
        found = at(measures, kind).xs(SCORE, level="measure")["excess"]
        for name in found.index.get_level_values("model").unique():
            if {(name, weights) for weights in WEIGHTS} <= set(found.index):
                assert found[name, "random"] > found[name, "trained"]
