"""What is said of a run that was saved."""

import numpy as np
import xarray as xr

from coupling.cli.saved import detail_note, resume_hint


def test_nothing_is_said_where_nothing_was_measured(tmp_path):
    assert resume_hint(None) == resume_hint(tmp_path) == resume_hint(tmp_path / "none") == ""


def test_how_an_interrupted_run_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr("coupling.run_files.count_measured", lambda folder: 3)
    hint = resume_hint(tmp_path)
    assert hint == f"; 3 prompts are saved, continue with the same command and --out {tmp_path} --resume"


def test_images_are_called_images(tmp_path, monkeypatch):
    monkeypatch.setattr("coupling.run_files.count_measured", lambda folder: 3)
    (tmp_path / "started.json").write_text('{"identity": {"processor_hash": "0"}}')
    assert resume_hint(tmp_path).startswith("; 3 images are saved")
    stream = (("detailed_prompt", "width"), np.zeros((2, 4), np.float32))
    run = xr.Dataset({"residual_stream": stream, "patch_rows": (("prompt",), [4, 4, 4])})
    assert detail_note(run).startswith(" (the first 2 of 3 images")


def test_the_size_of_the_detail():
    def run(detailed):
        stream = (("detailed_prompt", "width"), np.zeros((detailed, 10**6), np.float32))
        return xr.Dataset({"residual_stream": stream, "score": (("prompt",), np.zeros(3))})

    assert detail_note(run(0).drop_dims("detailed_prompt")) == ""
    assert detail_note(run(3)) == " (12.0 MB of it for the pictures grid and trajectory)"
    assert detail_note(run(2)).startswith(" (the first 2 of 3 prompts, 8.0 MB of it")
