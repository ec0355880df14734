"""Load timm's vision transformers: by name, from a local folder, or from a repository of the hub."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coupling.errors import CouplingError, require
from coupling.models.folder import PICKLE_RISK, TIMM, check_safetensors
from coupling.models.size import check_counts
from coupling.models.translation import call
from coupling.untrusted import clean, expanded, quoted, read_json

PURPOSE = "a timm model"


def timm_source(name: str | None) -> str | None:
    """What timm is asked for, where a model's name means one of timm's; None for any other model.

    Args:
        name: ``timm:NAME``, ``timm:FOLDER``, or a folder, or a file of weights in one, whose config.json is timm's.

    Returns:
        A name that ``timm.create_model`` takes: a model's name, ``local-dir:FOLDER`` or ``hf-hub:ID``.

    Raises:
        CouplingError: if the name is empty, or a file of weights is not beside a config.json.
    """
    if name is None:
        return None
    asked = name.removeprefix(TIMM)
    if name.startswith(TIMM) and not asked.strip():
        raise CouplingError("the model's name is empty; give one of timm's, such as timm:vit_tiny_patch16_224")
    path = expanded(asked)
    if _is_timm_folder(path):
        return f"local-dir:{path}"
    if path.is_file() and _is_timm_folder(path.parent):
        return f"local-dir:{path.parent}"
    if not name.startswith(TIMM):
        return None
    if path.exists() or asked.startswith((".", "/", "~")):
        raise CouplingError(
            f"{clean(asked, 300)} is not a folder with a config.json that names one of timm's architectures; timm's "
            "save_for_hf writes one"
        )
    return f"hf-hub:{asked}" if "/" in asked else asked


def _is_timm_folder(folder: Path) -> bool:
    """Whether a folder has a configuration of timm's."""
    try:
        content = read_json(folder / "config.json")
    except CouplingError:
        return False
    return (
        isinstance(content, dict) and "architecture" in content and content.get("model_type") in (None, "timm_wrapper")
    )


def load_timm(
    name: str,
    source: str,
    *,
    precision: torch.dtype,
    device: str,
    random_weights: int | None = None,
    allow_pickle: bool = False,
) -> tuple[nn.Module, str]:
    """A timm model in evaluation mode, and what its weights were on disk.

    Args:
        name: what the user called it.
        source: of ``timm_source``.
        precision: the dtype of its weights.
        device: a torch device.
        random_weights: a seed: draw the weights from it.
        allow_pickle: read weights that are pickled.

    Raises:
        CouplingError: if timm is not installed or does not know the model, the weights cannot be loaded, or the model
            is convolutional or hierarchical.
    """
    require("timm", "torchvision", purpose=PURPOSE)
    import timm

    folder = Path(source.removeprefix("local-dir:")) if source.startswith("local-dir:") else None
    if folder is None and not source.startswith("hf-hub:"):
        _check_name(source, timm.is_model, timm.list_models)
    if folder is not None:
        check_counts(read_json(folder / "config.json"), name)
    if random_weights is None and folder is not None:
        _check_weights_of(folder, name, allow_pickle)
    _check_stream(name, source)
    with torch.random.fork_rng():
        torch.manual_seed(random_weights or 0)
        model: nn.Module = call(name, "weights", timm.create_model, source, pretrained=random_weights is None)
    model = model.to(device=device, dtype=precision).eval().requires_grad_(False)
    form = "safetensors" if folder is None or list(folder.glob("*.safetensors")) else "bin"
    return model, "none" if random_weights is not None else form


def _check_name(name: str, is_model: Any, list_models: Any) -> None:
    """Check that timm knows a model."""
    base = name.partition(".")[0]
    if not is_model(base):
        near = get_close_matches(base, list_models(), 3)
        hint = f"; similar names: {', '.join(near)}" if near else ""
        raise CouplingError(f"timm has no model {quoted(base)}{hint}")


def _check_weights_of(folder: Path, name: str, allow_pickle: bool) -> None:
    """Check that a folder has weights that may be read."""
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        check_safetensors(file)
    pickles = [file for pattern in ("*.bin", "*.pth", "*.pth.tar", "*.pt") for file in sorted(folder.glob(pattern))]
    if not files and not pickles:
        raise CouplingError(f"{name} contains no weights (*.safetensors) beside its config.json")
    if not files and not allow_pickle:
        raise CouplingError(f"{name} contains only {pickles[0].name} weights, {PICKLE_RISK}`allow_pickle=True`")


def _check_stream(name: str, source: str) -> None:
    """Build the model without weights, and check that its residual stream has one width.

    Raises:
        CouplingError: if it is convolutional or hierarchical.
    """
    import timm

    with torch.device("meta"):
        model: nn.Module = call(name, "configuration", timm.create_model, source, pretrained=False)
    info: Iterable[dict[str, Any]] = getattr(model, "feature_info", None) or ()
    refuse_changing_width(name, [int(stage["num_chs"]) for stage in info if "num_chs" in stage])


def refuse_changing_width(name: str, widths: list[int]) -> None:
    """Refuse a model whose stages have different widths.

    Args:
        name: what the user called it.
        widths: the width of each stage, in order.

    Raises:
        CouplingError: if they are not all equal.
    """
    distinct = [width for index, width in enumerate(widths) if width != widths[index - 1] or index == 0]
    if len(distinct) > 1:
        raise CouplingError(
            f"{name} is convolutional or hierarchical: the width of its features changes from {distinct[0]} to "
            f"{', '.join(map(str, distinct[1:]))} between stages, so its blocks have no residual stream in common; "
            "models of one width, such as ViT, can be measured"
        )


def stage_widths(config: Any) -> list[int]:
    """The widths of the stages of a transformers model, where its configuration gives them; else none."""
    for name in ("hidden_sizes", "embed_dims", "embed_dim", "encoder_hidden_size", "widths"):
        value = getattr(config, name, None)
        if isinstance(value, (list, tuple)) and all(isinstance(width, int) for width in value):
            return list(value)
    depths, first = getattr(config, "depths", None), getattr(config, "embed_dim", None)
    if isinstance(depths, (list, tuple)) and isinstance(first, int):  # Swin, Hiera: doubled at every stage
        factor = getattr(config, "embed_dim_multiplier", 2.0)
        return [int(first * factor**stage) for stage in range(len(depths))]
    return []
