"""``coupling analyze`` on images: real digits, options, what the run says, and bad input."""

import json
import os
import shutil

import numpy as np
import pytest
import transformers
from PIL import Image

import coupling
from tests.helpers import BUNDLED, refused
from tests.vision import PATCH, SIDE, digits, make_timm, make_vit, save_llava, save_picture, save_timm, save_vit


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_vit(folder / "vit")
    save_timm(folder / "timm", make_timm())
    return folder


@pytest.fixture
def vit(saved, tmp_path):
    shutil.copytree(saved / "vit", tmp_path / "vit")
    return "vit"


@pytest.fixture
def real(tmp_path):
    """Two handwritten digits, as files."""
    (tmp_path / "digits").mkdir()
    for number, array in enumerate(digits(2)):
        Image.fromarray(array).convert("RGB").save(tmp_path / "digits" / f"{number}.png")
    return "digits"


def test_real_digits(cli, vit, real):
    status, out, err = cli("analyze", vit, "--images", real, "--k", 4, "--out", "run")
    assert status == 0, err
    assert (
        "ViTModel, 3 blocks, 2 images (digits), kind depth, class token, K = 4 of width 32\nfloat32 on cpu, token-local"
        in out
    )
    run = coupling.open_run("run")
    assert run.prompt_text.values.tolist() == ["0.png", "1.png"]
    assert run.token_text.values[0, :3].tolist() == ["cls", "(0, 0)", "(0, 1)"]
    assert run.measured_token.values.tolist() == [0, 0]
    assert run.patch_rows.values.tolist() == [SIDE // PATCH] * 2
    assert run.attrs["measured_place"] == "class token"
    assert all(uri.startswith("data:image/") for uri in run.picture.values)
    assert np.isfinite(coupling.score(run))


def test_digits_as_an_array_give_the_same_numbers(cli, vit, real, tmp_path):
    np.save(tmp_path / "digits.npy", digits(2))
    assert cli("analyze", vit, "--images", real, "--k", 4, "--out", "files", "-q")[0] == 0
    status, _, err = cli("analyze", vit, "--images", "digits.npy", "--k", 4, "--out", "array", "-q")
    assert status == 0
    assert err == "warning: each of 2 images (digits.npy 0, ...) is gray; it is converted to RGB\n"
    files, array = coupling.open_run("files"), coupling.open_run("array")
    assert np.array_equal(files.mismatch, array.mismatch)
    assert files.attrs["prompts_hash"] == array.attrs["prompts_hash"]


def test_the_bundled_images_need_no_option(cli, saved):
    status, out, _ = cli("analyze", saved / "timm", "--limit", 2, "--k", 2, "--out", "run")
    assert status == 0
    assert "2 images (bundled images), kind depth, class token" in out


def test_a_patch(cli, vit, real):
    assert cli("analyze", vit, "--images", real, "--k", 2, "--patch", "1,2", "--out", "run", "-q")[0] == 0
    run = coupling.open_run("run")
    assert run.measured_token.values.tolist() == [1 + 1 * 4 + 2] * 2
    assert run.attrs["measured_place"] == "patch (1, 2)"
    arguments = ("analyze", vit, "--images", real, "--k", 2, "--patch", "1,2", "--patch", "-1,-1")
    assert cli(*arguments, "--out", "two", "-q")[0] == 0
    two = coupling.open_run("two").mismatch.sel(k=2, norm=2, prompt=0, block=0, other_block=1)
    assert np.flatnonzero(np.isfinite(two)).tolist() == [7, 16]
    refused(cli("analyze", vit, "--images", real, "--patch", "4,0", "--k", 2, "--out", "no"), "no patch 4,0", "4 x 4")
    assert "is not a row and a column" in cli("analyze", vit, "--patch", "4")[2]
    assert "exclude each other" in cli("analyze", vit, "--patch", "4,0", "--tokens", "3")[2]


def test_a_model_without_a_class_token_is_measured_at_the_center(cli, tmp_path, real):
    save_vit(tmp_path / "siglip", make_vit("SiglipVision"))
    status, out, _ = cli("analyze", "siglip", "--images", real, "--k", 2, "--out", "run")
    assert status == 0
    assert "kind depth, center patch, " in out
    assert coupling.open_run("run").measured_token.values.tolist() == [2 * 4 + 2] * 2


def test_a_run_of_images_is_resumed(cli, vit, real):
    arguments = ("analyze", vit, "--images", real, "--k", 2, "--out", "run", "-q")
    assert cli(*arguments)[0] == 0
    assert cli(*arguments, "--resume")[0] == 0
    refused(cli(*arguments, "--resume", "--patch", "0,0"), "differs in patch")


def test_a_run_of_other_images_or_another_processor_is_not_resumed(cli, vit, real, tmp_path):
    arguments = ("analyze", vit, "--images", real, "--k", 2, "--out", "run", "-q")
    assert cli(*arguments)[0] == 0
    assert {"processor_hash", "inputs_hash"} <= set(coupling.open_run("run").attrs)
    assert "tokenizer_hash" not in coupling.open_run("run").attrs
    save_picture(tmp_path / real / "2.png")
    assert cli(*arguments, "--resume")[0] == 0  # others may follow
    assert coupling.open_run("run").sizes["prompt"] == 3
    usual = (tmp_path / real / "1.png").read_bytes()
    save_picture(tmp_path / real / "1.png")
    refused(cli(*arguments, "--resume"), "has measured another image as image 1", "--overwrite")
    (tmp_path / real / "1.png").write_bytes(usual)
    configuration = tmp_path / vit / "preprocessor_config.json"
    content = json.loads(configuration.read_text()) | {"image_mean": [0.4, 0.5, 0.5]}
    configuration.write_text(json.dumps(content))
    refused(cli(*arguments, "--resume"), "differs in processor_hash")


def test_a_run_of_images_speaks_of_images(cli, vit, real, tmp_path):
    arguments = ("--k", 2, "--kind", "self", "--detail", "all")
    status, out, err = cli("analyze", vit, "--images", real, *arguments, "--out", "run")
    assert status == 0, err
    assert "± images" in out
    assert "prompt" not in out + err
    assert "± images" in cli("show", "run")[1]
    refused(
        cli("plot", "run", "--picture", "heatmap", "--prompt", 7, "-o", "x.png"), "no image 7: the run's images are"
    )
    cli("analyze", vit, "--images", f"{real}/1.png", *arguments, "--out", "other", "-q")
    assert "The images differ, so the scores cannot be compared image by image." in cli("diff", "run", "other")[1]
    assert cli("report", "run", "other", "-o", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    for text in (
        "over pairs and images", "one standard error over images", "measured on different images", "sd over images",
        "different numbers of images", "on 2 images", ">mean over images<", "A run of one image has no",
    ):  # fmt: skip
        assert text in page, text
    arguments = ("analyze", vit, "--images", real, *arguments, "--out", "run", "--resume")
    refused(cli(*arguments, "--limit", 1), "has measured image 1, and only 1 images are given now")


def test_a_pipe_in_place_of_an_image_is_not_waited_for(cli, vit, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(cli("analyze", vit, "--images", "pipe.png", "--out", "run"), "pipe.png is a named pipe")


def test_every_bad_image_is_one_line_and_the_others_are_measured(cli, vit, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    save_picture(folder / "good.png")
    save_picture(folder / "cmyk.jpg", "CMYK")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    status, _, err = cli("analyze", vit, "--images", "mixed", "--k", 2, "--out", "run", "-q")
    assert status == 0
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: broken.png is not an image")
    assert lines[1].startswith("warning: cmyk.jpg is CMYK; it is converted to RGB")
    assert coupling.open_run("run").prompt_text.values.tolist() == ["cmyk.jpg", "good.png"]


def test_an_image_that_the_processor_refuses_is_left_out(cli, vit, tmp_path, monkeypatch):
    from coupling.errors import CouplingError
    from coupling.models.image_processing import Processor

    (tmp_path / "two").mkdir()
    save_picture(tmp_path / "two" / "a.png", size=(40, 30))
    save_picture(tmp_path / "two" / "b.png", size=(41, 30))
    usual = Processor.__call__

    def picky(self, image):
        if image.size[0] == 41:
            raise CouplingError("the image processor fails on this image: too odd")
        return usual(self, image)

    monkeypatch.setattr(Processor, "__call__", picky)
    status, _, err = cli("analyze", vit, "--images", "two", "--k", 2, "--out", "run", "-q")
    assert status == 0
    assert err == "warning: b.png: the image processor fails on this image: too odd; it is left out\n"
    assert coupling.open_run("run").sizes["prompt"] == 1
    refused(cli("analyze", vit, "--images", "two/b.png", "--k", 2, "--out", "other"), "too odd")


def test_sources_that_are_refused(cli, vit, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(cli("analyze", vit, "--images", "empty", "--out", "run"), "there are no images in empty")
    refused(cli("analyze", vit, "--images", "missing.png", "--out", "run"), "no file or folder missing.png", "--images")
    refused(cli("analyze", vit, "--prompts", "text", "--out", "run", "-q"), "takes images, not prompts; give --images")
    save_picture(tmp_path / "a.png")
    refused(cli("analyze", "--images", "a.png", "--out", "run"), "bundled takes text, not images")
    refused(cli("analyze", "--patch", "0,0", "--out", "run"), "--patch is for images")
    refused(cli("analyze", vit, "--chat", "--out", "run"), "--chat", "takes images")
    assert "--images excludes" in cli("analyze", vit, "--images", "a.png", "--prompts", "text")[2]
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    refused(cli("analyze", vit, "--images", "a.png", "--out", "run"), "contains no image processor configuration")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        ("ResNet", {}, "changes from 256 to 512, 1024, 2048"),
        ("ConvNext", {}, "changes from 96 to 192, 384, 768"),
        ("Swin", {}, "changes from 96 to 192, 384, 768"),
        (
            "MobileNetV2",
            {"depth_multiplier": 0.1},
            "is convolutional or hierarchical: the width of its features changes",
        ),
    ],
)
def test_convolutional_and_hierarchical_models(cli, tmp_path, family, options, words):
    getattr(transformers, f"{family}Config")(**options).save_pretrained(tmp_path / "net")
    shutil.copy(save_vit_processor(tmp_path), tmp_path / "net")
    refused(cli("analyze", "net", "--random-weights", "--out", "run"), words, "no residual stream in common")


def save_vit_processor(folder):
    transformers.ViTImageProcessor().save_pretrained(folder / "processor")
    return folder / "processor" / "preprocessor_config.json"


def test_the_vision_tower_of_a_multimodal_model(cli, tmp_path, real):
    vision = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
              "image_size": SIDE, "patch_size": PATCH}  # fmt: skip
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
            "vocab_size": 1024}  # fmt: skip
    config = transformers.CLIPConfig(vision_config=vision, text_config=text)
    transformers.CLIPModel(config).save_pretrained(tmp_path / "clip")
    refused(cli("analyze", "clip", "--part", "vision", "--out", "run"), "no image processor configuration")
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(tmp_path / "clip")
    status, out, err = cli("analyze", "clip", "--part", "vision", "--images", real, "--k", 2, "--out", "run")
    assert status == 0, err
    assert "CLIPVisionModel, 3 blocks, part vision, 2 images" in out
    assert coupling.open_run("run").attrs["part"] == "vision"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{BUNDLED}/{name}", tmp_path / "clip")
    arguments = ("analyze", "clip", "--block-list", "text_model.encoder.layers", "--images", real, "--out", "other")
    refused(cli(*arguments), "takes text, not images", "--part vision")


@pytest.mark.parametrize(
    ("family", "place", "grid"), [("CLIPVision", "class token", (4, 4)), ("PixtralVision", "center patch", (3, 4))]
)
def test_the_vision_tower_of_a_multimodal_folder(cli, tmp_path, family, place, grid):
    """A folder as LLaVA's and Pixtral's: the processor of images is one part of the processor of both."""
    save_llava(tmp_path / "llava", family)
    save_picture(tmp_path / "wide.png", size=(40, 30))
    arguments = ("analyze", "llava", "--images", "wide.png", "--k", 2)
    status, out, err = cli(*arguments, "--part", "vision", "--out", "run")
    assert status == 0, err
    assert f"{family}Model, 3 blocks, part vision, 1 image (wide.png), kind depth, {place}, K = 2 of width 32\n" in out
    assert "\nfloat32 on cpu, token-local" in out
    run = coupling.open_run("run")
    assert (int(run.patch_rows[0]), int(run.patch_columns[0])) == grid
    tower = transformers.AutoModel.from_pretrained("llava").get_encoder(modality="image")
    processed = transformers.AutoProcessor.from_pretrained("llava").image_processor(
        images=Image.open("wide.png"), return_tensors="pt"
    )
    token = int(run.measured_token[0])
    inputs = {key: processed[key] for key in ("pixel_values", "image_sizes") if key in processed}
    by_hand = coupling.measure(tower, {"pixel_values": inputs.pop("pixel_values"), **inputs}, k=2, tokens=token)
    assert np.allclose(run.mismatch, by_hand.mismatch, atol=1e-6)
    refused(cli(*arguments, "--out", "other"), "takes text, not images", "--part vision")


def test_the_vision_tower_of_a_language_model(cli, real):
    refused(cli("analyze", "--part", "vision", "--images", real, "--out", "run"), "no image processor configuration")
