"""Builds one architecture small and random, and makes its inputs."""

import copy
from typing import Any

import torch
import transformers

from benchmarks.conformance.architectures import Pair
from benchmarks.conformance.configurations import small_config
from benchmarks.conformance.inputs import NotTriedError, candidate_inputs
from benchmarks.conformance.overrides import GENTLE, SMALL

LARGEST = 60_000_000
"""Models with more parameters are not small; their configuration needs an override."""


def build(pair: Pair) -> tuple[Any, dict[str, Any]]:
    """A small model with random weights, and inputs with which its plain forward pass runs.

    The smallest configuration is tried first, then one that keeps the widths and the image size of the defaults.

    Raises:
        NotTriedError: if no configuration works.
    """
    model_class = getattr(transformers, pair.class_name, None)
    if model_class is None:
        raise NotTriedError(f"transformers does not export {pair.class_name}")
    reasons = []
    for table in (SMALL, GENTLE):
        try:
            model = _construct(pair, model_class, table)
            return model, _working_inputs(model)
        except NotTriedError as error:
            reasons.append(error)
    raise reasons[0]


def _construct(pair: Pair, model_class: Any, table: dict[str, int]) -> Any:
    torch.manual_seed(7)
    try:
        config = small_config(pair.model_type, pair.class_name, table)
        if not isinstance(config, model_class.config_class):
            parts = [getattr(config, key) for key in config.sub_configs]
            config = next((part for part in parts if isinstance(part, model_class.config_class)), config)
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in model_class(copy.deepcopy(config)).parameters())
        except (NotImplementedError, RuntimeError):  # the constructor reads values, which the meta device does not have
            size = 0  # so the size is not known before, and the model is built as it is
        if size > LARGEST:
            raise NotTriedError(f"cannot be built small: {size:,} parameters")
        model = model_class(config).float().eval()
    except NotTriedError:
        raise
    except Exception as error:
        raise NotTriedError(f"cannot be built small: {_line(error)}") from error
    scale_weights(model)
    return model


def _working_inputs(model: Any) -> dict[str, Any]:
    """The first inputs with which the model runs."""
    reasons = []
    for inputs in candidate_inputs(model):
        try:
            check_forward(model, inputs)
            return inputs
        except NotTriedError as error:
            reasons.append(error)
    raise reasons[0]


@torch.no_grad()
def scale_weights(model: torch.nn.Module) -> None:
    """Enlarge matrices to a standard deviation of 0.16, and move vectors a little."""
    for parameter in model.parameters():
        if parameter.numel() == 0:
            continue
        if not torch.isfinite(parameter).all() or parameter.abs().max() > 1e4:
            parameter.copy_(0.16 * torch.randn_like(parameter))  # never initialized
        elif parameter.ndim > 1 and parameter.numel() > 1:
            spread = float(parameter.std())
            if spread < 1e-6:
                parameter.add_(0.16 * torch.randn_like(parameter))
            else:
                parameter.mul_(min(8.0, max(1.0, 0.16 / spread)))
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))


@torch.no_grad()
def check_forward(model: Any, inputs: dict[str, Any]) -> None:
    """See that the model itself runs.

    Raises:
        NotTriedError: if its plain forward pass fails, or gives numbers that are not finite.
    """
    try:
        model(**inputs)
    except Exception as error:
        raise NotTriedError(f"its own forward pass fails at this configuration: {_line(error)}") from error


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]
