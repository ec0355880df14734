"""Token ids for the forward pass: from texts, and from whatever a user already has."""

import re
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from coupling.errors import CouplingError, one_line
from coupling.models.chat import PromptWarning
from coupling.models.checkpoint import Checkpoint
from coupling.models.parts import decoder_inputs
from coupling.untrusted import clean

CHARACTERS_PER_TOKEN = 50
"""Far more characters than a token has: a text of so many per token of the context does not fit it."""
MOST_CHARACTERS = 5_000_000
"""The longest prompt where the model sets no limit; a tokenizer takes 160 bytes for each character."""

REPLACEMENT = "\ufffd"
"""What decoding puts in place of bytes that are no character."""
_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}
"""Byte-level BPE writes each byte as one character; this is the byte of each."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def tokenize(
    checkpoint: Checkpoint, texts: list[str], *, truncate: bool = False, special_tokens: bool = True
) -> list[dict[str, Any]]:
    """Forward-pass arguments for each prompt.

    Args:
        checkpoint: the model and its tokenizer.
        texts: one per prompt.
        truncate: cut a prompt to the model's context; otherwise one that is too long is an error.
        special_tokens: let the tokenizer add its special tokens, such as BOS; a text that begins with that token, as
            chat templates render it, is given none.

    Returns:
        For each prompt a mapping with ``input_ids``, (1, n), and ``token_type_ids`` where the tokenizer gives them; for
        an encoder-decoder model also ``decoder_input_ids`` (see ``coupling.models.parts.decoder_inputs``).

    Raises:
        CouplingError: if a prompt has no tokens, or too many.
    """
    prompts = []
    limit = checkpoint.context
    n_embeddings = next(checkpoint.model.get_input_embeddings().parameters()).shape[0]
    n_doubled = 0
    for index, text in enumerate(texts):
        text = _bounded(text, index, limit, truncate=truncate)
        try:
            encoded, n_tokens = _encode(checkpoint.tokenizer, text, limit, special_tokens=special_tokens)
        except Exception as error:  # a tokenizer is what its files make of it, and raises anything
            raise CouplingError(
                f"the tokenizer of {checkpoint.name} fails at prompt {index}: {clean(one_line(error))}"
            ) from None
        if n_tokens == 0:
            raise CouplingError(f"prompt {index} has no tokens")
        if limit is not None and n_tokens > limit and not truncate:
            raise CouplingError(
                f"prompt {index} has {n_tokens} tokens, and the model's context is {limit}; "
                "shorten it, or give `truncate=True`"
            )
        ids = encoded["input_ids"]
        if int(ids.max()) >= n_embeddings:
            raise CouplingError(
                f"prompt {index} has token id {int(ids.max())}, and the model has {n_embeddings} embeddings: "
                "the tokenizer is not this model's"
            )
        n_doubled += _begins_twice(checkpoint.tokenizer, ids)
        inputs = {"input_ids": ids}
        if "token_type_ids" in encoded:
            inputs["token_type_ids"] = encoded["token_type_ids"]
        if checkpoint.model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = decoder_inputs(checkpoint.model, checkpoint.block_list or "", ids)
        prompts.append(inputs)
    if n_doubled:
        warnings.warn(
            f"{n_doubled} of {len(texts)} prompts begin with two BOS tokens ({_mark(checkpoint.tokenizer)[0]}), which "
            "are measured as they are",
            PromptWarning,
            stacklevel=2,
        )
    return prompts


def _bounded(text: str, index: int, limit: int | None, *, truncate: bool) -> str:
    """A text that a tokenizer can be given: one that is much too long is refused or cut before it fills the memory.

    Raises:
        CouplingError: if it is much longer than the context, and not to be cut.
    """
    most = MOST_CHARACTERS if limit is None else min(MOST_CHARACTERS, CHARACTERS_PER_TOKEN * limit + 1000)
    if len(text) <= most or truncate:
        return text[:most]
    context = "" if limit is None else f", and the model's context is {limit} tokens"
    raise CouplingError(f"prompt {index} has {len(text):,} characters{context}; shorten it, or give `truncate=True`")


def _encode(tokenizer: Any, text: str, limit: int | None, *, special_tokens: bool) -> tuple[Any, int]:
    """A text's encoding, cut to the limit, and the number of tokens that it has without the cut."""

    def encode(**options: Any) -> Any:
        return tokenizer(text, return_tensors="pt", verbose=False, **options)

    encoded = encode(add_special_tokens=special_tokens, truncation=False)
    mark, mark_id = _mark(tokenizer)
    if special_tokens and mark and text.lstrip().startswith(mark):
        # The text brings its first token itself: where the tokenizer adds another, it is to add nothing.
        plain = encode(add_special_tokens=False, truncation=False)
        ids, plain_ids = encoded["input_ids"][0].tolist(), plain["input_ids"][0].tolist()
        if ids[:1] == [mark_id] and ids[1 : len(plain_ids) + 1] == plain_ids and mark_id in plain_ids:
            encoded, special_tokens = plain, False
    n_tokens = encoded["input_ids"].shape[1]
    if limit is not None and n_tokens > limit:
        encoded = encode(add_special_tokens=special_tokens, truncation=True, max_length=limit)
    return encoded, n_tokens


def _mark(tokenizer: Any) -> tuple[str | None, int | None]:
    """The token that begins a text, and its id: BOS, or CLS where there is no BOS."""
    for name in ("bos_token", "cls_token"):
        token = getattr(tokenizer, name, None)
        if token:
            return str(token), getattr(tokenizer, f"{name}_id")
    return None, None


def _begins_twice(tokenizer: Any, ids: Tensor) -> bool:
    """Whether a prompt begins with two BOS tokens."""
    _, mark_id = _mark(tokenizer)
    return mark_id is not None and ids[0, :2].tolist() == [mark_id, mark_id]


def piece_texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token; a token that is a part of a character is written by its bytes, such as ``<0xE4>``.

    Args:
        tokenizer: of transformers.
        ids: token ids.
    """
    return [_piece_text(tokenizer, piece) for piece in tokenizer.convert_ids_to_tokens(ids)]


def _piece_text(tokenizer: Any, piece: str) -> str:
    text = str(tokenizer.convert_tokens_to_string([piece]))
    if REPLACEMENT not in text or REPLACEMENT in piece:
        return text
    if _BYTE.fullmatch(piece) or not all(character in _BYTES for character in piece):
        return piece  # SentencePiece writes bytes in this form itself
    return "".join(f"<0x{_BYTES[character]:02X}>" for character in piece)


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
