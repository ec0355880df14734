"""Where images come from: a file, a folder, a glob, an array, a data set, objects in memory, or the bundled set.

Every image is opened once to be checked, and again when it is measured, so that large folders do not fill the memory.
An image that cannot be read is left out with a warning, and the others are measured.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from importlib.resources import files
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coupling.errors import CouplingError, first_line, require
from coupling.models.chat import PromptWarning
from coupling.models.image_decoding import Named, decode
from coupling.models.prompts import open_dataset
from coupling.untrusted import check_regular, clean, expanded, quoted

if TYPE_CHECKING:
    from PIL.Image import Image

DATASET_SUFFIXES = (".parquet", ".json", ".jsonl", ".csv")


@dataclass(frozen=True)
class Images:
    """Images to measure on, and the name of their source.

    Attributes:
        items: at least one; all of them can be read.
        source: "bundled images", a file's, folder's or glob's name, "dataset NAME", or "images".
        digest: SHA-256 of the pixels of all of them.
    """

    items: list[Named]
    source: str
    digest: str


def bundled_images(limit: int | None = None) -> Images:
    """The project's own images, drawn by ``coupling.data.make_images``."""
    folder = Path(str(files("coupling").joinpath("data/images")))
    return read_images(str(folder), limit=limit, source_name="bundled images")


def read_images(
    source: Any,
    *,
    column: str | None = None,
    config: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    source_name: str | None = None,
) -> Images:
    """Images from a file, a folder, a glob, an array or anything that ``datasets.load_dataset`` loads.

    Args:
        source: an image file, a folder (with its subfolders), a glob such as ``photos/*.png``, a .npy file, a data set
            (a hub id, or a local .parquet, .json or .csv file); an array, (H, W), (H, W, 3), (N, H, W), (N, H, W, 3) or
            (N, 3, H, W), of 8-bit integers or of floats from 0 to 1; a Pillow image; or a sequence of
            images, arrays and names of files.
        column: the column of a data set that contains the image; default: the first that contains images.
        config: the data set's configuration.
        split: the data set's split; default: the first that exists of test, validation and train.
        limit: read at most this many images.
        source_name: what the source is called; default: its own name.

    Raises:
        CouplingError: if the source does not exist, or contains no image that can be read.
    """
    require("PIL", purpose="an image")
    if limit is not None and limit < 1:
        raise CouplingError(f"`limit` is {limit}, but must be at least 1")
    name, found = _find(source, column, config, split)
    return _checked(found, source_name or name, limit)


def _checked(found: Iterator[Named], source: str, limit: int | None) -> Images:
    """Open every image once: leave out those that cannot be read, and say what is converted."""
    kept: list[Named] = []
    failures: list[str] = []
    conversions: dict[str, list[str]] = {}
    digest = hashlib.sha256()
    for item in found:
        if limit is not None and len(kept) == limit:
            break
        try:
            image, notes = decode(item)
        except CouplingError as error:
            failures.append(str(error))
            continue
        digest.update(repr(image.size).encode() + image.tobytes())
        kept.append(item)
        for note in notes:
            conversions.setdefault(note, []).append(item.name)
    if not kept:
        if failures:
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            raise CouplingError(f"no image of {clean(source, 300)} can be measured: {failures[0]}{more}")
        raise CouplingError(f"there are no images in {clean(source, 300)}")
    for failure in failures:
        _warn(f"{failure}; it is left out")
    if source != "bundled images":
        for note, names in conversions.items():
            which = (
                clean(names[0], 200)
                if len(names) == 1
                else f"each of {len(names)} images ({clean(names[0], 200)}, ...)"
            )
            _warn(f"{which} is {note}")
    return Images(kept, source, digest.hexdigest())


def _warn(message: str) -> None:
    warnings.warn(message, PromptWarning, stacklevel=4)


def _find(source: Any, column: str | None, config: str | None, split: str | None) -> tuple[str, Iterator[Named]]:
    """The name of a source, and its images, not opened yet."""
    if not isinstance(source, (str, Path)):
        return "images", _in_memory(source)
    text = str(source)
    if not text.strip():
        raise CouplingError("`images` is empty; give a file, a folder, a glob, a .npy file or a data set")
    path = expanded(text)
    suffix = path.suffix.lower()
    if path.exists() and not path.is_dir():
        check_regular(path)
    if path.is_file() and suffix not in DATASET_SUFFIXES:
        return text, _of_array_file(path, text) if suffix == ".npy" else iter([_file(path, text)])
    if path.is_dir():
        return text, iter([_file(file, str(file.relative_to(path))) for file in _image_files(path.rglob("*"), text)])
    if has_magic(text):
        matches = map(Path, glob(str(path), recursive=True))
        return text, iter([_file(file, str(file)) for file in _image_files(matches, text)])
    looks_like_path = (
        text.startswith((".", "/", "~")) or text.count("/") > 1 or suffix in _suffixes() or suffix == ".npy"
    )
    if looks_like_path and not path.exists():
        raise CouplingError(
            f"there is no file or folder {clean(text, 300)}; `images` is a file, a folder, a glob or a data set"
        )
    return _of_dataset(text, column, config, split)


def _suffixes() -> set[str]:
    """The suffixes of all image formats that Pillow reads."""
    from PIL import Image

    return {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}


def _image_files(paths: Any, source: str) -> list[Path]:
    suffixes = _suffixes()
    found = sorted(path for path in paths if path.suffix.lower() in suffixes and path.is_file())
    if not found:
        raise CouplingError(
            f"there are no images in {clean(source, 300)} (files that end in .png, .jpg, .webp, .tif and so on)"
        )
    return found


def _file(path: Path, name: str) -> Named:
    return Named(name, partial(_opened, path))


def _opened(path: Path) -> "Image":
    from PIL import Image

    check_regular(path)  # to open a pipe could take forever
    return Image.open(path)


# Arrays and objects in memory


def _of_array_file(path: Path, name: str) -> Iterator[Named]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CouplingError(f"{clean(name, 300)} is not an array that NumPy can read: {first_line(error)}") from None
    return _of_array(array, path.name)


def _in_memory(source: Any) -> Iterator[Named]:
    from PIL import Image

    if isinstance(source, Image.Image):
        return iter([_of_image(source, "image 0")])
    if hasattr(source, "__array__"):
        return _of_array(np.asarray(source), "image")
    if not isinstance(source, Sequence):
        raise CouplingError(
            f"`images` is of type {type(source).__name__}, but must be a name, an array, a Pillow image or a sequence "
            "of them"
        )
    return iter([image for index, one in enumerate(source) for image in _item(one, index)])


def _item(one: Any, index: int) -> list[Named]:
    from PIL import Image

    if isinstance(one, (str, Path)):
        return [_file(expanded(one), str(one))]
    if isinstance(one, Image.Image):
        return [_of_image(one, f"image {index}")]
    if hasattr(one, "__array__"):
        return list(_of_array(np.asarray(one), f"image {index}"))
    raise CouplingError(
        f"image {index} is of type {type(one).__name__}, but must be a name, an array or a Pillow image"
    )


def _of_image(image: "Image", name: str) -> Named:
    return Named(name, image.copy)


def _of_array(array: np.ndarray, name: str) -> Iterator[Named]:
    """The images of an array; see ``read_images`` for its shapes.

    Raises:
        CouplingError: if its shape or its values are not those of images.
    """
    shown = clean(name, 200)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] == 3:
        raise CouplingError(
            f"the array of {shown} has the shape {array.shape}, which is one image with its channels first or three "
            "gray images; give (1, 3, H, W) or (3, H, W, 1)"
        )
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4)):
        array = array[None]
    elif array.ndim == 4 and array.shape[-1] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = np.moveaxis(array, 1, -1)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise CouplingError(
            f"the array of {shown} has the shape {array.shape}, but images are (H, W), (H, W, 3), (N, H, W) or "
            "(N, H, W, 3)"
        )
    if array.dtype != np.uint8:
        is_number = array.dtype.kind in "fiub"
        lowest, highest = (float(bound) for bound in (array.min(), array.max())) if is_number else (0.0, 0.0)
        if not is_number or not 0 <= lowest <= highest <= (1 if array.dtype.kind in "fb" else 255):
            raise CouplingError(
                f"the array of {shown} is of type {array.dtype} with values from {lowest:g} to {highest:g}, but images "
                "are whole numbers from 0 to 255 or floats from 0 to 1"
            )
    single = len(array) == 1
    return iter(
        [Named(name if single else f"{name} {index}", partial(_picture, array, index)) for index in range(len(array))]
    )


def _picture(array: np.ndarray, index: int) -> "Image":
    """One image of an array, as Pillow's."""
    from PIL import Image

    values = np.asarray(array[index])
    if values.dtype.kind in "fb":
        values = np.rint(values * 255.0)
    values = values.astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values)


# Data sets


def _of_dataset(name: str, column: str | None, config: str | None, split: str | None) -> tuple[str, Iterator[Named]]:
    rows, chosen = open_dataset(name, config=config, split=split, purpose="a data set of images")
    import datasets

    columns = [key for key, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    if column is None and columns:
        column = columns[0]
    if column is None or column not in columns:
        has = f"the columns with images are {', '.join(columns)}" if columns else "no column of it contains images"
        raise CouplingError(
            f"the data set {name} has no images in column {quoted(column)}: {has}; name one with `column`"
        )
    raw = rows.cast_column(column, datasets.Image(decode=False))
    return f"dataset {name} [{chosen}]", (
        Named(f"row {index}", partial(_row, raw, index, column)) for index in islice(range(len(raw)), None)
    )


def _row(rows: Any, index: int, column: str) -> "Image":
    from PIL import Image

    content = rows[index][column]
    return Image.open(BytesIO(content["bytes"]) if content["bytes"] is not None else content["path"])
