"""The bundled images are what their script draws, and small."""

import importlib.util

import numpy as np
from PIL import Image

from tests.helpers import ROOT

SCRIPT = ROOT / "coupling" / "data" / "make_images.py"
FOLDER = ROOT / "coupling" / "data" / "images"


def test_the_script_draws_the_bundled_images(tmp_path):
    specification = importlib.util.spec_from_file_location("make_images", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    drawn = module.draw_all(tmp_path)
    bundled = sorted(FOLDER.glob("*.png"))
    assert [path.name for path in drawn] == [path.name for path in bundled]
    for one, other in zip(drawn, bundled, strict=True):
        a, b = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (one, other))
        assert a.shape == b.shape == (module.SIDE, module.SIDE, 3)
        # A few pixels may differ where another version of Pillow or NumPy rounds or draws text differently.
        assert (abs(a - b).max(axis=-1) > 8).mean() < 0.05, one.name


def test_they_are_at_least_twelve_and_a_few_kilobytes_each():
    sizes = [path.stat().st_size for path in FOLDER.glob("*.png")]
    assert len(sizes) >= 12
    assert max(sizes) < 16_000
    assert sum(sizes) < 80_000
