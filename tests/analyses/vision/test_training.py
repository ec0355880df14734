"""One training: what the model sees, what is dropped, what is saved, and that it is repeated exactly."""

import numpy as np
import pytest
import torch
from torch import nn

from coupling.analyses.vision import training as module
from coupling.analyses.vision.design import Training
from coupling.analyses.vision.training import (
    RECORD,
    augment,
    evaluate,
    learning_rate_factor,
    make_model,
    pixels_of,
    statistics_of,
    train_model,
)
from coupling.errors import DivergedError
from coupling.models.images import read_images
from coupling.models.loading import load


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "one"
    return folder, train_model(Training(0.4, 0.5, 2, 1, 0), data, folder)


def test_what_is_saved_is_the_model_that_was_evaluated(finished, data):
    folder, record = finished
    checkpoint = load(str(folder))
    images = read_images(data.held_out_images[..., 0])
    pixels = torch.cat([checkpoint.processor(item.rgb())["pixel_values"] for item in images.items])
    assert torch.equal(pixels, pixels_of(data.held_out_images, data))
    found = evaluate(checkpoint.model, pixels, torch.from_numpy(data.held_out_labels))
    assert found == (record["test_accuracy"], record["test_loss"])
    assert record["steps"] == 128 // module.BATCH
    assert Training.of(record) == Training(0.4, 0.5, 2, 1, 0)


def test_a_training_is_repeated_exactly(finished, data, tmp_path, training):
    folder, record = finished
    assert train_model(training, data, tmp_path / "again") == record
    for name in ("model.safetensors", "config.json", RECORD):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    assert train_model(Training(0.4, 0.5, 2, 1, 1), data, tmp_path / "other") != record


def test_a_finished_training_is_not_repeated(finished, data, monkeypatch):
    folder, record = finished
    monkeypatch.setattr(module, "make_model", None)
    assert train_model(Training(0.4, 0.5, 2, 1, 0), data, folder) == record


def test_stochastic_depth_rises_linearly_to_the_rate(data):
    model = make_model(Training(0.3, 0.0, 4, 1, 0), data)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.blocks]
    assert np.allclose(rates, [0.0, 0.1, 0.2, 0.3])
    assert not any(isinstance(block.drop_path1, nn.Dropout) for block in model.blocks)


def test_accuracy_rises(data, tmp_path):
    record = train_model(Training(0.0, 0.0, 2, 40, 0), data, tmp_path / "longer")
    assert record["train_accuracy"] > 0.4  # 0.1 by chance
    assert record["train_loss"] < 1.8


def test_weight_decay_is_of_matrices_alone(data):
    model = make_model(Training(0.0, 0.5, 2, 1, 0), data)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying, kept = ([names[id(one)] for one in group["params"]] for group in module._groups(model, 0.5))
    assert "blocks.0.attn.qkv.weight" in decaying
    assert not any(name.endswith("bias") or "norm" in name for name in decaying)
    assert {"cls_token", "pos_embed", "blocks.0.norm1.weight"} <= set(kept)
    assert len(decaying) + len(kept) == len(names)


def test_images_are_shifted_whole_and_filled_with_black(data):
    pixels = pixels_of(data.images[:64], data)
    black = pixels.min()
    shifted = augment(pixels, data, black.reshape(1, 1, 1, 1), torch.Generator().manual_seed(0))
    padded = nn.functional.pad(pixels, (1, 1, 1, 1), value=black.item())
    seen = set()
    for image, candidates in zip(shifted, padded, strict=True):
        places = [
            (row, column)
            for row in range(3)
            for column in range(3)
            if torch.equal(image, candidates[:, row : row + 8, column : column + 8])
        ]
        assert places
        seen.update(places)
    assert len(seen) == 9


def test_normalized_pixels_have_mean_0_and_deviation_1(data):
    pixels = pixels_of(data.images, data)
    assert abs(float(pixels.mean())) < 1e-3
    assert abs(float(pixels.std()) - 1) < 1e-3
    mean, std = statistics_of(np.stack([np.zeros((2, 2, 1)), np.full((2, 2, 1), 255)]).astype(np.uint8))
    assert (mean, std) == ((0.5,), (0.5,))


def test_the_learning_rate_rises_and_falls():
    factors = [learning_rate_factor(step, 50) for step in range(51)]
    assert max(factors) == factors[4] == 1
    assert factors[:5] == sorted(factors[:5])
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[50] == pytest.approx(0, abs=1e-12)


def test_a_loss_that_is_not_finite(data, tmp_path, training, monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATE", 1e30)
    with pytest.raises(DivergedError, match=r"d2-e1-sd0.4-wd0.5-seed0 diverged: its loss is nan"):
        train_model(training, data, tmp_path / "model")
    assert not (tmp_path / "model").exists()
