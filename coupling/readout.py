r"""What the top singular directions of blocks mean: read as tokens, or by the patches that excite them.

A left singular vector u is what a block writes into the residual stream, a right one v what it reads from it, and both
are vectors of the residual stream. The unembedding f (final norm and output embedding) turns such vectors into logits.
A direction has no length and a singular vector no sign, so the odd part of f is taken at length :math:`\sqrt d`:

.. math:: \ell(u) = \frac{1}{2} \left( f(\sqrt d\, u) - f(-\sqrt d\, u) \right)

Biases of norm and output cancel in it. This is the logit lens of a direction (nostalgebraist 2020; Millidge and Black,
*The Singular Value Decompositions of Transformer Weight Matrices are Highly Interpretable*, 2022).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from coupling.errors import CouplingError
from coupling.linalg.svd import top_singular_triplets
from coupling.models.head import find_unembedding, head_of
from coupling.models.image_processing import Processor
from coupling.models.patches import PatchGrid
from coupling.models.recording import Recording, record_blocks
from coupling.models.tokenization import piece_texts
from coupling.plan import Plan, resolve_tokens
from coupling.reopening import Reopened, reopen
from coupling.settings import Settings
from coupling.shared_directions import Directions, Reading, read_directions
from coupling.untrusted import clean

DEFAULT_VECTORS, DEFAULT_TOP, DEFAULT_BLOCKS = 5, 8, 4
"""Vectors per block, tokens per end of a vector, and blocks in the middle of the model, where none are asked for."""
MOST_IMAGES = 64
"""The images among whose patches those that excite a direction most are looked for."""


def directions(
    run: str | Path,
    blocks: tuple[int, int] | None = None,
    *,
    k: int = DEFAULT_VECTORS,
    top: int = DEFAULT_TOP,
    prompt: int = 0,
    token: int | str | None = None,
    images: Any = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> pd.DataFrame:
    r"""Read the top singular vectors of blocks as tokens, and mark those that blocks share.

    A run does not contain its singular vectors, so the Jacobians of these blocks are computed again, on one prompt; the
    checkpoint and the prompt are checked to be the ones that were measured. Each vector is read through the model's
    final norm and output embedding. Of a model of images, the patches are given that excite a vector most: those whose
    residual stream (where the block reads or writes it), minus the mean over all patches, has the largest cosine.

    A vector is *shared* if its absolute cosine with a vector of the same side of another of these blocks exceeds what
    random vectors reach with probability 0.01 in any of the n comparisons of that side. The squared cosine of
    two random directions of d dimensions has the distribution Beta(1/2, (d - 1)/2); with its distribution function B,

    .. math:: t^2 = B^{-1}\left(1 - \frac{0.01}{n}\right)

    Args:
        run: the folder of a run.
        blocks: (first, one past the last). Default: the four in the middle of the model.
        k: number of top singular vectors of each block.
        top: number of tokens or patches given for each end of a vector.
        prompt: the prompt or image on which the Jacobians are computed, counted from 0.
        token: the token that they are computed at: an index or "last". Default: the one that the run measured (where it
            measured several, the last of them).
        images: where the images of the run are, if they are not where they were.
        device: "auto" for an accelerator if there is one, or a torch device.
        trust_remote_code: run model code that the repository brings along.
        allow_pickle: read weights that are pickled (.bin); a pickle can run any code.

    Returns:
        One row for each block, side ("left" is written by the block, "right" read by it) and rank, with columns
        ``singular_value`` (no unit), ``toward`` and ``against`` (lists: the tokens that the vector raises and lowers
        most; the sign is that which makes the strongest of the left vector positive), ``nearest_block``,
        ``nearest_rank`` and ``cosine`` (the vector of another block that is most nearly parallel), ``shared`` and
        ``shared_blocks``. Its ``attrs`` have ``model``, ``prompt``, ``text``, ``token``, ``token_text``, ``width``,
        ``shared_above`` (t), ``comparisons`` (n) and ``items`` ("tokens" or "patches").

    Raises:
        CouplingError: if the run, its checkpoint or its input cannot be used again, the model has no unembedding, or
            there is no such block, prompt or token.

    Source:
        The logit lens: nostalgebraist, *interpreting GPT: the logit lens*, 2020. Singular vectors read by it: Millidge
        and Black, *The Singular Value Decompositions of Transformer Weight Matrices are Highly Interpretable*, 2022.

    Example:
        >>> import tempfile, coupling
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = coupling.analyze(prompts=["import os, sys"], k=3, out=f"{folder}/run")
        ...     table = coupling.directions(f"{folder}/run", blocks=(3, 5), k=2, top=3)
        >>> table[["block", "side", "rank"]].values.tolist()[:3], len(table.toward[0])
        ([[3, 'left', 0], [3, 'left', 1], [3, 'right', 0]], 3)
    """
    if k < 1 or top < 1:
        raise CouplingError(f"`k` is {k} and `top` is {top}, but both must be at least 1")
    known = reopen(
        run,
        prompt,
        images=images,
        most_images=MOST_IMAGES,
        device=device,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    processor = known.checkpoint.processor
    arguments = known.inputs[0 if processor is None else prompt].arguments()
    recording = record_blocks(known.checkpoint.model, known.modules, arguments)
    chosen = _blocks(blocks, recording.numbers)
    if k > recording.width:
        raise CouplingError(f"`k` is {k}, but must be at most the width of the residual stream, {recording.width}")
    at = _token(known, token, prompt, recording, arguments)
    reading, names = (
        _token_reading(known, recording, arguments) if processor is None else _patch_reading(known, processor)
    )
    found = {block: _vectors(known, recording, block, at, k) for block in chosen}
    table = read_directions(found, reading, names, top)
    texts = known.run.token_text.values[prompt] if "token_text" in known.run else []
    table.attrs |= {
        "model": str(known.run.attrs["model"]),
        "prompt": prompt,
        "text": str(known.run.prompt_text.values[prompt]),
        "token": at,
        "token_text": str(texts[at]) if at < len(texts) else "",
        "items": "tokens" if processor is None else "patches",
    }
    return table


def _blocks(blocks: tuple[int, int] | None, numbers: Sequence[int]) -> list[int]:
    """The numbers of the blocks that are read."""
    if blocks is None:
        first = max(0, (len(numbers) - DEFAULT_BLOCKS) // 2)
        return list(numbers[first : first + DEFAULT_BLOCKS])
    chosen = [number for number in numbers if blocks[0] <= number < blocks[1]]
    if not chosen or blocks[0] < numbers[0] or blocks[1] - 1 > numbers[-1]:
        raise CouplingError(
            f"there are no blocks {blocks[0]}:{blocks[1]}: this model's blocks are {numbers[0]} to {numbers[-1]} (the "
            "end of a range is left out)"
        )
    return chosen


def _token(known: Reopened, token: Any, prompt: int, recording: Recording, arguments: dict[str, Any]) -> int:
    """The token at which Jacobians are computed, counted on the prompt."""
    n_tokens = recording.n_tokens - recording.n_virtual
    if token is not None:
        return resolve_tokens(token, n_tokens)[-1]
    if "measured_token" in known.run:
        return int(known.run.measured_token.values[prompt])
    keys = ("k", "kind", "tokens", "fixed_token", "block_pairs")
    settings = Settings(**{key: known.identity[key] for key in keys if key in known.identity})
    return Plan.of(settings, n_tokens=n_tokens, blocks=recording.numbers, width=recording.width).tokens[-1]


def _vectors(known: Reopened, recording: Recording, block: int, token: int, k: int) -> Directions:
    """The top singular vectors of a block's Jacobian at a token."""
    jacobian = recording.jacobian(recording.numbers.index(block), token + recording.n_virtual)
    engine, seed = known.identity.get("engine", "auto"), int(known.run.attrs.get("seed", 0))
    found = top_singular_triplets(jacobian, k, engine=engine, tol=float(known.run.attrs["tol"]), seed=seed)
    return Directions(found.values.numpy(), found.left.numpy(), found.right.numpy())


def _token_reading(
    known: Reopened, recording: Recording, arguments: dict[str, Any]
) -> tuple[Reading, Callable[[int], str]]:
    """How vectors of the residual stream are read as tokens."""
    whole = head_of(known.checkpoint)
    unembed = find_unembedding(whole, known.modules, recording, arguments)
    tokenizer, stream = known.checkpoint.tokenizer, recording.trajectory

    def reading(block: int, side: str, vectors: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "k v"]:
        return odd_logits(unembed, torch.from_numpy(vectors).to(stream)).double().cpu().numpy()

    return reading, lambda item: piece_texts(tokenizer, [item])[0] if item < len(tokenizer) else f"<{item}>"


def odd_logits(
    unembed: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n v"]], vectors: Float[Tensor, "d k"]
) -> Float[Tensor, "k v"]:
    """Logits of directions: the odd part of the unembedding at length ``sqrt(d)``.

    Args:
        unembed: the final norm and the output embedding.
        vectors: unit vectors, as columns.
    """
    rows = vectors.T * vectors.shape[0] ** 0.5
    return (unembed(rows) - unembed(-rows)) / 2


def _patch_reading(known: Reopened, processor: Processor) -> tuple[Reading, Callable[[int], str]]:
    """How vectors are read by the patches of the run's images: the cosine with each patch's residual stream."""
    streams, names = [], []
    for image in known.inputs:
        arguments = image.arguments()
        recording = record_blocks(known.checkpoint.model, known.modules, arguments)
        grid = PatchGrid.of(known.checkpoint.model, arguments["pixel_values"], recording.n_tokens)
        first = len(grid.special)
        streams.append(recording.trajectory[:, first:].double().cpu().numpy())
        name = clean(image.name, 60)
        names += [f"{name} {label}" for label in grid.labels[first:]]
        numbers = recording.numbers
    stream = np.concatenate(streams, axis=1)

    def reading(block: int, side: str, vectors: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "k n"]:
        layer = numbers.index(block) + (side == "left")
        return excitation(stream[layer], vectors)

    return reading, lambda item: names[item]


def excitation(stream: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "k n"]:
    """The cosine of each direction with each patch's residual stream, from which the mean over patches is taken out.

    Args:
        stream: the residual stream at one layer, one row per patch.
        vectors: unit vectors, as columns.
    """
    centered = stream - stream.mean(axis=0)
    lengths = np.linalg.norm(centered, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num((centered @ vectors / lengths[:, None]).T)
