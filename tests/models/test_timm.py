"""timm's models: what a name means, loading from folders with the hub offline, and agreement with transformers."""

import json

import numpy as np
import pytest
import torch

import coupling
from coupling.errors import CouplingError
from coupling.models.loading import load
from coupling.models.timm import load_timm, refuse_changing_width, stage_widths, timm_source
from tests.vision import HAS_INTERFACE_EVERYWHERE, PIXELS, make_timm, make_vit, save_timm

pytest.importorskip("timm")


def as_timm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a ViT of transformers under timm's names."""
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for kind in ("weight", "bias"):
        renamed[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        for layer in range(3):
            old, new = f"layers.{layer}", f"blocks.{layer}"
            renamed[f"{new}.attn.qkv.{kind}"] = torch.cat([state[f"{old}.attention.{p}_proj.{kind}"] for p in "qkv"])
            for ours, theirs in {"attention.o_proj": "attn.proj", "layernorm_before": "norm1", "mlp.fc1": "mlp.fc1",
                                 "layernorm_after": "norm2", "mlp.fc2": "mlp.fc2"}.items():  # fmt: skip
                renamed[f"{new}.{theirs}.{kind}"] = state[f"{old}.{ours}.{kind}"]
    return renamed


# The names of the weights are those of the newest version, against which this test always runs.
@pytest.mark.skipif(not HAS_INTERFACE_EVERYWHERE, reason="earlier versions of transformers name the weights otherwise")
def test_the_versions_of_timm_and_transformers_of_one_set_of_weights_agree():
    ours = make_vit(layer_norm_eps=1e-6)
    theirs = make_timm(num_heads=4, mlp_ratio=1.5, num_classes=0)
    theirs.load_state_dict(as_timm(ours.state_dict()))
    one, other = (coupling.measure(model, {"pixel_values": PIXELS}, k=(3, 8)) for model in (ours, theirs))
    assert one.attrs["measured_place"] == other.attrs["measured_place"] == "class token"
    for variable in ("mismatch", "chance", "line_shape_score", "residual_norm"):
        assert np.allclose(one[variable], other[variable], rtol=1e-4, atol=1e-5), variable


def test_what_a_name_means(tmp_path):
    folder = save_timm(tmp_path / "vit", make_timm())
    assert timm_source("timm:vit_tiny_patch16_224") == "vit_tiny_patch16_224"
    assert timm_source("timm:org/name") == "hf-hub:org/name"
    for name in (folder, f"timm:{folder}", f"{folder}/model.safetensors"):
        assert timm_source(name) == f"local-dir:{folder}"
    assert timm_source(None) is timm_source("gpt2") is timm_source(str(tmp_path)) is None
    for name, words in (("timm:", "name is empty"), (f"timm:{tmp_path}", "is not a folder with a config.json")):
        with pytest.raises(CouplingError, match=words):
            timm_source(name)


def test_a_local_checkpoint_has_its_own_weights(tmp_path):
    model = make_timm()
    checkpoint = load(save_timm(tmp_path / "vit", model))
    assert checkpoint.weights_format == "safetensors"
    assert checkpoint.block_list == "blocks"
    assert not checkpoint.model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, checkpoint.model.state_dict()[name])
    assert next(load(str(tmp_path / "vit"), dtype="float64").model.parameters()).dtype == torch.float64


def test_random_weights_depend_on_the_seed_alone(tmp_path):
    folder = save_timm(tmp_path / "vit", make_timm())
    one, same, other = (
        load_timm(folder, f"local-dir:{folder}", precision=torch.float32, device="cpu", random_weights=seed)[0]
        for seed in (3, 3, 4)
    )
    weights = [model.blocks[0].attn.qkv.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_checkpoints_that_cannot_be_read(tmp_path):
    folder = tmp_path / "vit"
    save_timm(folder, make_timm())
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(CouplingError, match="truncated or corrupt"):
        load(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CouplingError, match="contains no weights"):
        load(str(folder))
    torch.save(make_timm().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CouplingError, match="which are pickles, and a pickle can run any code"):
        load(str(folder))
    assert load(str(folder), allow_pickle=True).weights_format == "bin"
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"architecture": "vit_of_nobody"}))
    with pytest.raises(CouplingError, match="vit_of_nobody"):
        load(str(folder), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "timm:vit_tinyy_patch16_224",
            "timm has no model 'vit_tinyy_patch16_224'; similar names: vit_tiny_patch16_224",
        ),
        ("timm:resnet18", "changes from 64 to 128, 256, 512"),
        ("timm:convnext_atto", "changes from 40 to 80, 160, 320"),
        ("timm:swin_tiny_patch4_window7_224", "changes from 96 to 192, 384, 768"),
    ],
)
def test_models_that_are_refused(name, words):
    with pytest.raises(CouplingError, match=words):
        load(name, random_weights=0)


def test_arguments_that_do_not_apply_to_timm():
    for argument in ("revision", "part", "base"):
        value = "vision" if argument == "part" else "x"
        with pytest.raises(CouplingError, match=f"`{argument}` does not apply to timm:vit_tiny_patch16_224"):
            load("timm:vit_tiny_patch16_224", random_weights=0, **{argument: value})


def test_pretrained_weights_that_are_not_in_the_cache():
    with pytest.raises(CouplingError, match="the Hugging Face hub cannot be reached"):
        load("timm:vit_tiny_patch16_224")


def test_widths_of_stages():
    import transformers

    assert stage_widths(transformers.ResNetConfig()) == [256, 512, 1024, 2048]
    assert stage_widths(transformers.SwinConfig()) == [96, 192, 384, 768]
    assert stage_widths(transformers.ViTConfig()) == []
    refuse_changing_width("a", [32, 32])
    with pytest.raises(CouplingError, match="changes from 32 to 64 between stages"):
        refuse_changing_width("a", [32, 64, 64])
