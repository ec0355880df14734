"""timm's attention by the recording attention, and every family of vision transformers against float64 autograd."""

import pytest
import torch

import coupling
from coupling.models.patches import PatchGrid
from coupling.models.recording import record
from coupling.models.timm_attention import attending_by, is_timm, timm_blocks
from tests.vision import FAMILIES, HAS_INTERFACE_EVERYWHERE, PIXELS, TIMM, make_timm, make_vit, reference


def agrees(model, special, *, is_local=True):
    """Every block at the first special token, a patch and a pair of them; also that the labels are right."""
    recording = record(model, {"pixel_values": PIXELS})
    assert recording.token_local or not is_local, recording.locality
    assert PatchGrid.of(model, PIXELS, recording.n_tokens).special == special
    middle = recording.n_tokens - 6
    for block, source, target in ((0, middle, middle), (1, 0, 0), (2, 0, middle), (1, middle, 0)):
        expected = reference(model, block, source, target)
        found = recording.jacobian(block, source, target).to_dense().double()
        assert (found - expected).norm() <= 1e-4 * expected.norm(), (block, source, target)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_transformers_agrees_with_float64_autograd_on_the_fast_path(family):
    agrees(make_vit(family), FAMILIES[family][1], is_local=HAS_INTERFACE_EVERYWHERE)


@pytest.mark.parametrize("name", TIMM)
def test_a_model_of_timm_agrees_with_float64_autograd_on_the_fast_path(name):
    agrees(make_timm(name), TIMM[name][1])


def test_the_full_sequence_gives_the_same_results_and_the_run_says_which():
    model = make_timm("vit_small_patch16_dinov3")
    fast = coupling.measure(model, {"pixel_values": PIXELS}, k=4)
    recording = record(model, {"pixel_values": PIXELS})
    recording.locality.failed.update((block, "token-local") for block in range(3))
    slow = coupling.measure(model, {"pixel_values": PIXELS}, k=4)
    assert fast.attrs["linearization"] == "token-local"
    assert slow.attrs["linearization"] == "full-sequence"
    assert abs(fast.mismatch - slow.mismatch).max() < 1e-4


def test_attention_modules_are_restored():
    model = make_timm().train()
    modules = [module for module in model.modules() if hasattr(module, "fused_attn")]
    modules[0].fused_attn = False
    calls = []

    def attend(module, query, key, value, mask, scaling):
        calls.append(module)
        return torch.zeros_like(query).transpose(1, 2), None

    with attending_by(model, attend):
        model(PIXELS)
    assert calls == modules
    assert [module.fused_attn for module in modules] == [False, True, True]
    assert all("forward" not in vars(module) for module in modules)
    with pytest.raises(ZeroDivisionError), attending_by(model, attend):
        raise ZeroDivisionError
    assert all("forward" not in vars(module) for module in modules)
    coupling.measure(model, {"pixel_values": PIXELS}, k=2)
    assert model.training


def test_a_forward_that_somebody_else_set_is_restored():
    model = make_timm()
    module = model.blocks[0].attn
    own = module.forward
    module.forward = own
    with attending_by(model, lambda *_, **__: None):
        assert module.forward is not own
    assert vars(module)["forward"] is own


def test_other_models_are_left_alone():
    model = make_vit()
    assert not is_timm(model)
    with attending_by(model, None):
        pass


def test_a_model_without_blocks_is_refused():
    timm = pytest.importorskip("timm")
    with pytest.raises(coupling.CouplingError, match="ResNet has no list of blocks"):
        timm_blocks(timm.create_model("resnet18", pretrained=False))
