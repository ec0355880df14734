"""Reading images: every kind of source, what is converted, and what is refused by name."""

import warnings

import numpy as np
import pytest
from PIL import Image

from coupling.errors import CouplingError
from coupling.models import image_decoding as module
from coupling.models.chat import PromptWarning
from coupling.models.images import bundled_images, read_images
from tests.vision import digits, save_picture


@pytest.fixture
def said():
    """The warnings of a test, as lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [str(warning.message) for warning in caught if issubclass(warning.category, PromptWarning)]


def names(images):
    return [item.name for item in images.items]


def test_a_file_a_folder_and_a_glob(tmp_path):
    (tmp_path / "sub").mkdir()
    one, two = save_picture(tmp_path / "b.png"), save_picture(tmp_path / "sub" / "a.jpg", seed=1)
    (tmp_path / "notes.txt").write_text("no image")
    assert names(read_images(str(one))) == [str(one)]
    assert names(read_images(str(tmp_path))) == ["b.png", "sub/a.jpg"]
    assert names(read_images(f"{tmp_path}/**/*.jpg")) == [str(two)]
    assert names(read_images(str(tmp_path), limit=1)) == ["b.png"]
    assert names(read_images([str(two), Image.open(one)])) == [str(two), "image 1"]
    assert read_images(one).digest == read_images(str(one)).digest != read_images(two).digest


def test_arrays(tmp_path):
    real = digits(5)
    np.save(tmp_path / "digits.npy", real)
    read = read_images(str(tmp_path / "digits.npy"))
    assert names(read) == [f"digits.npy {index}" for index in range(5)]
    assert np.array_equal(np.asarray(read.items[2].rgb())[..., 1], real[2])
    color = np.random.default_rng(0).random((2, 12, 10, 3))
    for array in (color, np.moveaxis(color, -1, 1)):
        read = read_images(array)
        assert [item.rgb().size for item in read.items] == [(10, 12)] * 2
        assert np.array_equal(np.asarray(read.items[1].rgb()), np.rint(color[1] * 255).astype(np.uint8))
    assert read_images(color[0]).items[0].rgb().size == (10, 12)
    assert read_images(real[0]).items[0].rgb().size == (8, 8)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (digits(2) * 1.0, "from 0 to 255, but images are whole numbers from 0 to 255 or floats from 0 to 1"),
        (np.full((4, 8, 8), np.nan), "values from nan to nan"),
        (np.zeros((2, 3, 4, 5, 3)), r"has the shape \(2, 3, 4, 5, 3\)"),
        (digits(3), "one image with its channels first or three gray images"),
        (np.zeros((0, 8, 8), np.uint8), r"has the shape \(0, 8, 8\)"),
        (np.zeros((8, 8), complex), "of type complex128"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_images(array, message):
    with pytest.raises(CouplingError, match=message):
        read_images(array)


def test_a_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"label": [0, 1], "picture": [Image.fromarray(one) for one in digits(2)]}
    features = datasets.Features({"label": datasets.Value("int64"), "picture": datasets.Image()})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "digits.parquet")
    read = read_images(str(tmp_path / "digits.parquet"))
    assert names(read) == ["row 0", "row 1"]
    assert read.source.startswith("dataset ")
    assert np.array_equal(np.asarray(read.items[1].rgb())[..., 0], digits(2)[1])
    with pytest.raises(CouplingError, match="no images in column 'label': the columns with images are picture"):
        read_images(str(tmp_path / "digits.parquet"), column="label")


def test_many_conversions_are_one_line(tmp_path, said):
    for index in range(5):
        save_picture(tmp_path / f"{index}.png", "L", seed=index)
    assert len(read_images(str(tmp_path)).items) == 5
    assert said() == ["each of 5 images (0.png, ...) is gray; it is converted to RGB"]


def test_what_cannot_be_read_is_left_out_and_the_others_are_kept(tmp_path, said, monkeypatch):
    save_picture(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    whole = save_picture(tmp_path / "cut.png", seed=3).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(module, "MOST_PIXELS", 2000)
    save_picture(tmp_path / "huge.png", size=(60, 60))
    assert names(read_images(str(tmp_path))) == ["good.png"]
    lines = said()
    assert len(lines) == 4
    for part in ("cut.png cannot be read as an image", "empty.png is not an image", "text.jpg is not an image",
                 "huge.png has 60 x 60 pixels"):  # fmt: skip
        assert sum(part in line and line.endswith("it is left out") for line in lines) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "`images` is empty"),
        ("missing.png", "there is no file or folder missing.png"),
        ("./nothing", "there is no file or folder ./nothing"),
        ("*.png", r"there are no images in \*.png"),
        (["missing.png"], "no image of images can be measured: there is no file missing.png"),
        (3, "`images` is of type int"),
        ([3], "image 0 is of type int"),
        ([], "there are no images in images"),
    ],
)
def test_sources_that_do_not_exist(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CouplingError, match=message):
        read_images(source)


def test_an_empty_folder_and_a_bad_array(tmp_path):
    with pytest.raises(CouplingError, match="there are no images in"):
        read_images(str(tmp_path))
    (tmp_path / "bad.npy").write_bytes(b"not an array")
    with pytest.raises(CouplingError, match="is not an array that NumPy can read"):
        read_images(str(tmp_path / "bad.npy"))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CouplingError, match="is not an array that NumPy can read"):
        read_images(str(tmp_path / "objects.npy"))


def test_the_bundled_images(said):
    images = bundled_images()
    assert len(images.items) >= 12
    assert len({item.rgb().tobytes() for item in images.items}) == len(images.items)
    assert said() == []
    assert len(bundled_images(2).items) == 2
    with pytest.raises(CouplingError, match="`limit` is 0"):
        bundled_images(0)
