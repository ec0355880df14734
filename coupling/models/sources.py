"""What a model is measured on: prompts or images, as they were given, or the bundled set that fits the model."""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning, render
from coupling.models.checkpoint import Checkpoint
from coupling.models.images import Images, bundled_images, read_images
from coupling.models.inputs import Input, Patches, TextInput, image_inputs
from coupling.models.prompts import Prompts, bundled_prompts, read_prompts
from coupling.models.tokenization import piece_texts, tokenize
from coupling.untrusted import clean


@dataclass(frozen=True)
class Inputs:
    """The inputs of a measurement.

    Attributes:
        items: at least one.
        hashes: SHA-256 of each: its name or text, and all that the model is given for it. Inputs are identified one by
            one, so that others may follow them later.
        digest: SHA-256 of all of the prompts' texts, or of the pixels of all images of the source.
    """

    items: list[Input]
    hashes: list[str]
    digest: str


def given_source(prompts: Any, images: Any, *, chat: bool, limit: int | None) -> Prompts | Images | None:
    """The prompts or images that were given; None for the bundled ones, which depend on the model.

    Args:
        prompts: see ``coupling.models.prompts.read_prompts``.
        images: see ``coupling.models.images.read_images``.
        chat: the prompts will be rendered by a chat template.
        limit: use only the first.

    Raises:
        CouplingError: if both were given, or they cannot be read.
    """
    if prompts is not None and images is not None:
        raise CouplingError("`prompts` and `images` exclude each other: a model is measured on one of them")
    if images is not None:
        return images if isinstance(images, Images) else read_images(images, limit=limit)
    if prompts is None:
        return None
    source = prompts if isinstance(prompts, Prompts) else read_prompts(prompts, chat=chat)
    if source.conversations is not None and not chat:
        raise CouplingError(f"the prompts of {source.source} are lists of messages; `chat=True` renders them")
    return source.limited(limit)


def fitting_source(checkpoint: Checkpoint, source: Prompts | Images | None, limit: int | None) -> Prompts | Images:
    """What was given, or the bundled set of what the model takes.

    Args:
        checkpoint: the loaded model.
        source: what was given; None for nothing.
        limit: use only the first.

    Raises:
        CouplingError: if the model takes the other.
    """
    if checkpoint.processor is not None:
        if isinstance(source, Prompts):
            raise CouplingError(
                f"{checkpoint.name} takes images, not prompts; give `images`, or nothing for the bundled set"
            )
        return bundled_images(limit) if source is None else source
    if isinstance(source, Images):
        hint = ""
        if getattr(checkpoint.model.config, "vision_config", None) is not None:
            hint = "; `part='vision'` measures its vision tower"
        raise CouplingError(f"{checkpoint.name} takes text, not images{hint}")
    return bundled_prompts().limited(limit) if source is None else source


def inputs_of(
    checkpoint: Checkpoint,
    source: Prompts | Images,
    patches: Patches = (),
    *,
    chat: bool = False,
    truncate: bool = False,
    special_tokens: bool = True,
    keep_pictures: bool = True,
) -> Inputs:
    """The inputs of a measurement; an image that the processor refuses is left out with a warning.

    Args:
        checkpoint: the loaded model.
        source: of ``fitting_source``.
        patches: of each image, the patches that are measured.
        chat: render prompts with the model's chat template.
        truncate: cut prompts to the model's context.
        special_tokens: let the tokenizer add its special tokens.
        keep_pictures: keep small pictures of images.

    Raises:
        CouplingError: if an argument is for the other kind of input, a prompt cannot be tokenized, or no image can be
            processed.
    """
    if isinstance(source, Images) and checkpoint.processor is not None:
        if chat or truncate:
            raise CouplingError(f"`chat` and `truncate` are for prompts, and {checkpoint.name} takes images")
        model, processor = checkpoint.model, checkpoint.processor
        return _processed(image_inputs(source, model, processor, patches, keep_pictures=keep_pictures), source)
    assert isinstance(source, Prompts)
    if patches:
        raise CouplingError(f"`patch` is for images, and {checkpoint.name} takes text; give `tokens`")
    items = _text_inputs(checkpoint, source, chat=chat, truncate=truncate, special_tokens=special_tokens)
    digest = hashlib.sha256("\0".join(one.name for one in items).encode()).hexdigest()
    return Inputs(items, [one.digest() for one in items], digest)


def _processed(images: list[Input], source: Images) -> Inputs:
    """Those of the images that the processor accepts."""
    items: list[Input] = []
    hashes: list[str] = []
    refused: list[str] = []
    for one in images:
        try:
            hashes.append(one.digest())
        except CouplingError as error:
            refused.append(f"{clean(one.name, 200)}: {error}")
        else:
            items.append(one)
    if not items:
        raise CouplingError(refused[0] if len(refused) == 1 else f"no image can be measured: {refused[0]}")
    for refusal in refused:
        warnings.warn(f"{refusal}; it is left out", PromptWarning, stacklevel=3)
    return Inputs(items, hashes, source.digest)


def _text_inputs(
    checkpoint: Checkpoint, source: Prompts, *, chat: bool, truncate: bool, special_tokens: bool
) -> list[Input]:
    """Prompts, rendered and tokenized."""
    tokenizer = checkpoint.tokenizer
    texts = render(tokenizer, checkpoint.name, source.as_chats()) if chat else source.texts
    tokenized = tokenize(checkpoint, texts, truncate=truncate, special_tokens=special_tokens and not chat)
    in_decoder = "decoder" in (checkpoint.block_list or "").split(".")
    inputs: list[Input] = []
    categories = source.categories or [""] * len(texts)
    for text, keywords, category in zip(texts, tokenized, categories, strict=True):
        ids = keywords["decoder_input_ids" if in_decoder and "decoder_input_ids" in keywords else "input_ids"]
        inputs.append(TextInput(text, keywords, piece_texts(tokenizer, ids[0].tolist()), category))
    return inputs
