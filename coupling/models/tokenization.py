"""Token ids for the forward pass: from texts, and from whatever a user already has."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupling.errors import CouplingError
from coupling.models.loading import Checkpoint


def tokenize(checkpoint: Checkpoint, texts: list[str], *, truncate: bool = False) -> list[dict[str, Any]]:
    """Forward-pass arguments for each prompt.

    Args:
        checkpoint: the model and its tokenizer.
        texts: one per prompt.
        truncate: cut a prompt to the model's context; otherwise one that is too long is an error.

    Returns:
        For each prompt a mapping with ``input_ids``, (1, n), and ``token_type_ids`` where the tokenizer gives them.

    Raises:
        CouplingError: if a prompt has no tokens, or too many.
    """
    prompts = []
    limit = checkpoint.context
    tokenizer: Any = checkpoint.tokenizer
    embeddings = next(checkpoint.model.get_input_embeddings().parameters())
    for index, text in enumerate(texts):
        encoded = tokenizer(text, return_tensors="pt", verbose=False, truncation=False)
        ids = encoded["input_ids"]
        if ids.shape[1] == 0:
            raise CouplingError(f"prompt {index} has no tokens")
        if limit is not None and ids.shape[1] > limit:
            if not truncate:
                raise CouplingError(
                    f"prompt {index} has {ids.shape[1]} tokens, and the model's context is {limit}; "
                    "shorten it, or give `truncate=True`"
                )
            encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
            ids = encoded["input_ids"]
        if int(ids.max()) >= embeddings.shape[0]:
            raise CouplingError(
                f"prompt {index} has token id {int(ids.max())}, and the model has {embeddings.shape[0]} embeddings: "
                "the tokenizer is not this model's"
            )
        inputs = {"input_ids": ids}
        if "token_type_ids" in encoded:
            inputs["token_type_ids"] = encoded["token_type_ids"]
        prompts.append(inputs)
    return prompts


def split_inputs(inputs: Any) -> list[dict[str, Any]]:
    """Forward-pass arguments of single prompts, from token ids in any common form.

    Args:
        inputs: token ids, (n,) or (batch, n), as a tensor, an array or lists; a mapping such as a tokenizer returns
            (rows with an ``attention_mask`` lose their padding); or a sequence of any of these.

    Raises:
        CouplingError: if it is empty, or contains texts.
    """
    if isinstance(inputs, (str, bytes)):
        raise CouplingError("the inputs are text; tokenize it, or give it to coupling.analyze")
    if isinstance(inputs, np.ndarray) or (isinstance(inputs, (list, tuple)) and inputs and _is_integer(inputs[0])):
        inputs = torch.as_tensor(inputs)
    if isinstance(inputs, Tensor):
        if inputs.numel() == 0:
            raise CouplingError("a prompt has no tokens")
        return [{"input_ids": row[None]} for row in (inputs if inputs.ndim == 2 else inputs[None])]
    if hasattr(inputs, "keys"):
        return _split_mapping(inputs)
    prompts = [prompt for item in inputs for prompt in split_inputs(item)]
    if not prompts:
        raise CouplingError("there are no prompts")
    return prompts


def _split_mapping(inputs: Any) -> list[dict[str, Any]]:
    """The rows of a tokenizer's output, each without its padding."""
    mapping = {key: inputs[key] for key in inputs if isinstance(inputs[key], Tensor)}
    if not mapping:
        raise CouplingError("the inputs contain no tensors; tokenize with return_tensors='pt'")
    mask = mapping.pop("attention_mask", None)
    rows = len(next(iter(mapping.values()))) if mapping else 0
    prompts = []
    for row in range(rows):
        kept = None if mask is None else mask[row].bool()
        prompt = {}
        for key, value in mapping.items():
            single = value[row : row + 1]
            is_per_token = kept is not None and value.ndim >= 2 and value.shape[1] == len(kept)
            prompt[key] = single[:, kept] if is_per_token else single
        prompts.append(prompt)
    return prompts


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer))
