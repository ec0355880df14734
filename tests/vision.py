"""Small vision transformers of every family that we promise, checkpoints of them, and the judge of their Jacobians."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from packaging.version import Version
from PIL import Image
from safetensors.torch import save_file

from tests.helpers import BUNDLED

SIDE, PATCH = 32, 8
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "image_size": SIDE, "patch_size": PATCH}  # fmt: skip
HAS_INTERFACE_EVERYWHERE = Version(transformers.__version__) >= Version("5.23")
"""Whether every family's attention goes through transformers' interface; in earlier versions BEiT's does not."""

FAMILIES = {
    "ViT": ({}, ("cls",)),
    "DeiT": ({}, ("cls", "dist")),
    "Dinov2": ({"layerscale_value": 0.7, "drop_path_rate": 0.5}, ("cls",)),
    "Dinov2WithRegisters": ({"num_register_tokens": 4}, ("cls", "reg1", "reg2", "reg3", "reg4")),
    "DINOv3ViT": ({"num_register_tokens": 2, "drop_path_rate": 0.5}, ("cls", "reg1", "reg2")),
    "Beit": ({"use_relative_position_bias": True, "drop_path_rate": 0.5}, ("cls",)),
    "IJepa": ({}, ()),
    "CLIPVision": ({}, ("cls",)),
    "SiglipVision": ({}, ()),
    "PixtralVision": ({}, ()),
}
"""transformers' families: options beside ``SMALL``, and the special tokens in front of the patches."""
TIMM = {
    "vit_tiny_patch16_224": ({}, ("cls",)),
    "deit_tiny_distilled_patch16_224": ({}, ("cls", "dist")),
    "vit_small_patch14_reg4_dinov2": ({"init_values": 0.5}, ("cls", "reg1", "reg2", "reg3", "reg4")),
    "beit_base_patch16_224": ({"drop_path_rate": 0.5}, ("cls",)),
    "eva02_tiny_patch14_224": ({}, ("cls",)),
    "vit_small_patch16_dinov3": ({}, ("cls", "reg1", "reg2", "reg3", "reg4")),
    "vit_small_patch16_rope_mixed_224": ({}, ("cls",)),
    "vit_base_patch16_siglip_224": ({}, ()),
}
"""timm's models, made small."""
PIXELS = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def enlarge(model: torch.nn.Module, factor: float = 4) -> torch.nn.Module:
    """Weights large enough that attention is far from uniform."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_vit(family: str = "ViT", **options) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family][0] | options)
    return enlarge(transformers.AutoModel.from_config(config))


def make_timm(name: str = "vit_tiny_patch16_224", **options) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    small = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return enlarge(timm.create_model(name, pretrained=False, **small | TIMM[name][0] | options), 3)


def save_vit(folder: Path, model: transformers.PreTrainedModel | None = None, **processing) -> str:
    """A checkpoint of transformers with a processor configuration."""
    (make_vit() if model is None else model).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **processing).save_pretrained(folder)
    return str(folder)


def save_llava(folder: Path, family: str = "CLIPVision") -> str:
    """A multimodal checkpoint: a vision tower, a small language model, and the processor of both."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    tokenizer = transformers.AutoTokenizer.from_pretrained(BUNDLED)
    names = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    tokenizer.add_special_tokens({"additional_special_tokens": list(names)})
    config = transformers.LlavaConfig(
        vision_config=getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family][0]),
        text_config=transformers.LlamaConfig(**shape, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    if family == "PixtralVision":
        sizes = {"size": {"longest_edge": SIDE}, "patch_size": {"height": PATCH, "width": PATCH}}
        images = transformers.PixtralImageProcessor(**sizes)
        processor = transformers.PixtralProcessor(images, tokenizer, patch_size=PATCH)
    else:
        images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE)
        processor = transformers.LlavaProcessor(images, tokenizer, patch_size=PATCH, image_token="[IMG]")
    processor.save_pretrained(folder)
    return str(folder)


def save_timm(folder: Path, model: torch.nn.Module, name: str = "vit_tiny_patch16_224") -> str:
    """A checkpoint as timm saves it: weights, and a config.json that names the architecture."""
    folder.mkdir()
    arguments = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 3, "num_heads": 2}
    pretrained = {"input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear",
                  "crop_pct": 1.0, "num_classes": 1000, "first_conv": "patch_embed.proj",
                  "classifier": "head"}  # fmt: skip
    content = {"architecture": name, "num_classes": 1000, "model_args": arguments | TIMM[name][0],
               "pretrained_cfg": pretrained}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(content))
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / "model.safetensors")
    return str(folder)


def save_picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30), seed: int = 0, **options) -> Path:
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path, **options)
    return path


def digits(count: int) -> np.ndarray:
    """Real images: scikit-learn's handwritten digits, 8 x 8 pixels of 17 gray levels, as 8-bit integers."""
    from sklearn.datasets import load_digits

    return np.rint(load_digits().images[:count] * 255 / 16).astype(np.uint8)


def reference(model: torch.nn.Module, block: int, source: int, target: int) -> torch.Tensor:
    """The Jacobian by float64 automatic differentiation of the whole sequence; nothing of the library is in it."""
    model = copy.deepcopy(model).double().eval()
    if isinstance(model, transformers.PreTrainedModel):
        model.set_attn_implementation("eager")
        (blocks,) = [list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3]
    else:
        blocks = list(model.blocks)
    seen = []
    module = blocks[block]
    module.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    with torch.no_grad():
        model(PIXELS.double())
    args, kwargs = seen[0]
    stream = args[0] if args else kwargs["hidden_states"]

    def update(x):
        moved = stream.clone()
        moved[0, source] = x
        output = module(moved, *args[1:], **kwargs) if args else module(**kwargs | {"hidden_states": moved})
        output = output[0] if isinstance(output, tuple) else output
        return output[0, target] - (x if source == target else 0)

    return torch.autograd.functional.jacobian(update, stream[0, source].clone())
