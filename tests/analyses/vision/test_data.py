"""The data of the study: the digits as scikit-learn has them, and CIFAR-10 from a folder."""

import pickle

import numpy as np
import pytest

from coupling.analyses.vision.data import cifar10, digits
from coupling.errors import CouplingError


def test_the_digits_are_all_there_once():
    from sklearn.datasets import load_digits

    data, original = digits(), load_digits()
    assert len(data.images) + len(data.held_out_images) == len(original.images) == 1797
    both = np.concatenate([data.images, data.held_out_images])[..., 0]
    labels = np.concatenate([data.labels, data.held_out_labels])
    assert both.dtype == np.uint8
    order = np.lexsort(both.reshape(len(both), -1).T)
    expected = np.rint(original.images * 255 / 16).astype(np.uint8)
    expected_order = np.lexsort(expected.reshape(len(expected), -1).T)
    assert np.array_equal(both[order], expected[expected_order])
    assert np.array_equal(labels[order], original.target[expected_order])
    assert set(np.bincount(data.labels) > 60) == {True}  # no class is missing in either half
    assert np.array_equal(digits().images, data.images)
    assert not np.array_equal(digits(seed=1).images, data.images)


def test_cifar10_is_read_from_a_folder(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = {name: generator.integers(0, 256, (20, 3072), dtype=np.uint8) for name in names}
    for name, values in batches.items():
        content = {"data": values, "labels": [index % 10 for index in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(number) for number in range(10)]}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    data = cifar10(tmp_path, train=50, held_out=7)
    assert data.images.shape == (50, 32, 32, 3)
    assert data.held_out_images.shape == (7, 32, 32, 3)
    assert np.array_equal(data.images[0, ..., 0].ravel(), batches["data_batch_1"][0, :1024])  # red comes first
    assert data.labels.tolist()[:3] == [0, 1, 2]
    assert data.classes == 10


def test_a_folder_without_cifar10(tmp_path):
    with pytest.raises(CouplingError, match=r"there is no CIFAR-10 in .*; give the folder that contains"):
        cifar10(tmp_path)


def test_files_that_are_not_the_published_ones_are_not_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(print))
    with pytest.raises(CouplingError, match="there is no CIFAR-10"):
        cifar10(tmp_path)
