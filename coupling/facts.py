"""What a run is, in a few words: what every output says of the run that its numbers come from."""

import xarray as xr

from coupling.dataset import input_word, is_depth
from coupling.shares import k_names
from coupling.untrusted import clean

DENSE_FORMATS = ("F16", "F32", "BF16")
"""Formats in GGUF files that are not rounded to few bits."""


def facts_of(run: xr.Dataset) -> list[str]:
    """What was measured, in words: the model, its weights, the inputs, the kind, the tokens and the K.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os"], k=(3, "5%"), random_weights=True)
        >>> ", ".join(facts_of(run))
        'LlamaModel, 8 blocks, random weights, 1 prompt (texts), kind depth, last token, K = 3 and 6 = 5% of width 128'
    """
    attributes = run.attrs
    blocks = int(run.sizes["layer"]) - 1
    facts = [
        clean(attributes.get("architecture", "model"), 80),
        counted(blocks, "block"),
        *_weights(run),
        f"{counted(int(run.sizes['prompt']), input_word(run))} ({clean(attributes.get('prompts', 'given'), 200)})",
    ]
    if attributes.get("chat"):
        facts.append("chat template")
    elif not attributes.get("special_tokens", 1) and "processor_hash" not in attributes:
        facts.append("no special tokens")
    facts += [f"kind {clean(attributes.get('kind', 'depth'), 40)}", tokens_of(run)]
    names = k_names(run)
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    width = f" of width {attributes['width']}" if "width" in attributes else ""
    return [*facts, f"K = {listed}{width}"]


def counted(number: int, word: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "prompt"), counted(2, "prompt")
        ('1 prompt', '2 prompts')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def tokens_of(run: xr.Dataset) -> str:
    """Which tokens were measured, in words."""
    place = clean(run.attrs.get("measured_place", ""), 100)
    if place:
        return place
    if is_depth(run):
        if "measured_token" not in run:
            return "several tokens"
        tokens, lengths = run.measured_token.values, run.n_tokens.values if "n_tokens" in run else None
        if lengths is not None and bool((tokens == lengths - 1).all()):
            return "last token"
        places = sorted({int(token) for token in tokens})
        return f"token {places[0]}" if len(places) == 1 else "one token of each"
    fixed = ""
    if "fixed_token" in run:
        places = sorted({int(token) for token in run.fixed_token.values.ravel()})
        fixed = f" with fixed token {places[0]}" if len(places) == 1 else " with one fixed token of each"
    largest = run.singular_values.isel(rank=0)
    counts = largest.notnull().any([dim for dim in largest.dims if dim not in ("prompt", "token")]).sum("token").values
    low, high = int(counts.min()), int(counts.max())
    return (counted(high, "token") if low == high else f"{low} to {high} tokens") + fixed


def _weights(run: xr.Dataset) -> list[str]:
    """What is unusual of a model's weights; trained ones that were not rounded go without saying."""
    attributes = run.attrs
    facts = []
    if attributes.get("weights") == "random":
        facts.append("random weights")
    else:
        form = clean(attributes.get("weights_format", ""), 60)
        if form.startswith("gguf") and form.split()[-1] not in DENSE_FORMATS:
            facts.append(f"weights rounded to {form.split()[-1]} (gguf)")
        elif ", " in form:
            facts.append(f"quantized weights ({form.split(', ', 1)[1]})")
    if attributes.get("adapter"):
        facts.append(f"adapter {clean(attributes['adapter'], 200)} on {clean(attributes.get('base', '?'), 200)}")
    if attributes.get("part"):
        facts.append(f"part {clean(attributes['part'], 40)}")
    if attributes.get("preset"):
        facts.append(f"preset {clean(attributes['preset'], 40)}")
    return facts
