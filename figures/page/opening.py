"""The top of the page: what was measured and what came out, in whole sentences; the table that compares runs."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from coupling.choices import VARIANTS
from coupling.dataset import input_word, is_depth
from coupling.figures.page.section import Material
from coupling.figures.selection import is_random, kind, numbers_as_text, pair_names
from coupling.figures.style import printable
from coupling.numbers_as_text import significant
from coupling.sinks import first_token_dominance
from coupling.uncertainty import Estimate, are_paired, excess_difference, excess_estimate
from coupling.untrusted import clean

FEW_PROMPTS = 5
"""Prompts below which a standard error is itself rough."""
CLEAR = 3.0
"""Standard errors from which on an excess is called clear."""
KINDS = {
    "self": "one block's Jacobians at different tokens",
    "context-input": "the Jacobians from one input token to different output tokens",
    "context-output": "the Jacobians from different input tokens to one output token",
}


def title(material: Material) -> str:
    """The models' names."""
    names = list(dict.fromkeys(material.names))
    if len(names) <= 3:
        return _listed(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more models"


def opening(material: Material, first_skip: int) -> dict[str, Any]:
    """The summary in sentences: a paragraph for each run, and what to be careful about.

    Args:
        material: the runs.
        first_skip: how many first tokens are left out at first.
    """
    paragraphs = [
        " ".join([*_measured(run, name), *_found(compared, summary)])
        for run, compared, name, summary in zip(
            material.runs, material.compared, material.names, material.summaries, strict=True
        )
    ]
    most = 6
    if len(paragraphs) > most:
        paragraphs = [*paragraphs[:most], f"{len(paragraphs) - most} more runs are in the table below."]
    return {"paragraphs": paragraphs, "careful": _careful(material, first_skip)}


def _measured(run: xr.Dataset, name: str) -> list[str]:
    """What was measured."""
    prompts = run.sizes["prompt"]
    what = input_word(run)
    inputs = f"{prompts} {what}{'s' if prompts != 1 else ''}"
    blocks = run.sizes["layer"] - 1
    trained = " with random weights" if is_random(run) and "(random weights)" not in name else ""
    of = f"{name}{trained}"
    if is_depth(run):
        return [
            f"{of} has {blocks} blocks. Each block's Jacobian was compared with each other's, "
            f"{_place(run, what)}, on {inputs}."
        ]
    compared = KINDS.get(kind(run), "Jacobians at different tokens")
    where = f"in {_count(len(pair_names(run)), 'place')} of its {blocks} blocks"
    return [f"In {of}, {compared} were compared with each other, {where}, on {inputs}."]


def _place(run: xr.Dataset, what: str) -> str:
    if "measured_token" not in run:
        return f"averaged over the measured tokens of each {what}"
    place = str(run.attrs.get("measured_place", ""))
    if place in ("class token", "center patch"):
        return f"at the {place} of each {what}"
    if place.startswith("patch "):
        return f"at {clean(place, 100)} of each {what}"
    if bool((run.measured_token == run.n_tokens - 1).all()):
        return f"at the last token of each {what}"
    places = sorted({int(token) for token in run.measured_token.values})
    return f"at token {places[0]} of each {what}" if len(places) == 1 else f"at one token of each {what}"


def _found(run: xr.Dataset, summary: dict[str, Any]) -> list[str]:
    """How far above chance, and where the strongest pairs are."""
    k = int(run.k.values[-1])
    row = _first_score(run, summary)
    if row["excess"] is None:
        return ["No pair could be compared."]
    estimate = excess_estimate(run, k)
    sentences = [
        f"At K = {k} and p = 2 the coupling is {_digits(row['score'])}, where random frames would give "
        f"{_digits(row['chance'])}: {_judged(estimate, input_word(run))}"
    ]
    strongest = summary["strongest"]
    error = estimate.standard_error
    if estimate.value <= (0 if error is None else CLEAR * error):
        return sentences
    if is_depth(run):
        pairs = list(dict.fromkeys(tuple(sorted((pair["block"], pair["other_block"]))) for pair in strongest))
        listed = _listed([f"{first} and {second}" for first, second in pairs], semicolon=True)
        distance = max(abs(first - second) for first, second in pairs)
        near = ", all close to each other in depth" if len(pairs) > 1 and distance <= 2 else ""
        single = len(pairs) == 1
        sentences.append(f"The strongest {'pair is' if single else 'pairs are'} blocks {listed}{near}.")
    elif len(strongest) > 1:
        names = [
            str(pair["block"]) if pair["block"] == pair["other_block"] else f"{pair['block']}:{pair['other_block']}"
            for pair in strongest
        ]
        sentences.append(f"Tokens are coupled most at blocks {_listed(names)}.")
    return sentences


def _first_score(run: xr.Dataset, summary: dict[str, Any]) -> dict[str, Any]:
    """The score at the largest K and p = 2."""
    wanted = (int(run.k.values[-1]), 2, VARIANTS[0].label)
    (row,) = [row for row in summary["scores"] if (row["k"], row["norm"], row["variant"]) == wanted]
    return row


def _judged(estimate: Estimate, word: str) -> str:
    value, error = estimate.value, estimate.standard_error
    said = f"an excess over chance of {percent(estimate)}"
    if error is None:
        return f"{said}, from one {word}, so its uncertainty is not known."
    if abs(value) < CLEAR * error:
        return f"{said}, which cannot be told from chance on these {word}s."
    return f"{said}, clearly {'above' if value > 0 else 'below'} chance."


def _careful(material: Material, first_skip: int) -> list[str]:
    """What a reader could misunderstand."""
    runs = material.runs
    word = input_word(*runs)
    notes = [f"The number after ± is one standard error over {word}s; it says nothing about other kinds of {word}s."]
    fewest = min(run.sizes["prompt"] for run in runs)
    if 1 < fewest < FEW_PROMPTS:
        notes.append(f"There are only {fewest} {word}s, so the standard errors are themselves rough.")
    if fewest == 1:
        notes.append(f"A run of one {word} has no standard error; measure more {word}s before you compare models.")
    notes.append("At p = 1 even random weights score high; judge a coupling by its excess over chance.")
    if len({str(run.attrs.get("prompts_hash", "")) for run in runs}) > 1:
        notes.append(f"The runs were measured on different {word}s; their difference is partly that of the {word}s.")
    if len({int(run.attrs["width"]) for run in runs if "width" in run.attrs}) > 1:
        notes.append("The models have different widths, so the same K is a different share of each.")
    for run, name, summary in zip(runs, material.names, material.summaries, strict=True):
        notes += _careful_of(run, summary, f"{name}: " if len(runs) > 1 else "", first_skip)
    return notes


def _careful_of(run: xr.Dataset, summary: dict[str, Any], of: str, first_skip: int) -> list[str]:
    notes = []
    if is_random(run) and not of:
        notes.append("This model has random weights: it is a baseline, not a trained model.")
    quantized = str(run.attrs.get("weights_format", ""))
    if quantized.startswith("gguf") and quantized.split()[-1] not in ("F16", "F32", "BF16"):
        notes.append(f"{of}the weights were stored in {clean(quantized.split()[-1], 20)}, rounded to few bits each.")
    dominance = first_token_dominance(run)
    if first_skip and dominance >= 2:
        count = "first token is" if first_skip == 1 else f"first {first_skip} tokens are"
        notes.append(
            f"{of}each {input_word(run)}'s {count} left out of the measures of tokens, because its norm reaches "
            f"{dominance:.3g} times the others' (an attention sink); a control changes that."
        )
    zero = summary["zero_blocks"]
    if zero:
        notes.append(f"{of}blocks {numbers_as_text(zero)} add nothing somewhere; no comparison with them counts.")
    if not summary["singular_values_converged"]:
        notes.append(f"{of}some singular values did not converge to the asked tolerance.")
    return [note[0].upper() + note[1:] if not of else note for note in notes]


def comparison(material: Material) -> dict[str, Any]:
    """The table of scores: one row per run at the largest K and p = 2, and every other score in a second table."""
    first = material.compared[0]
    rows = []
    for run, name, summary in zip(material.compared, material.names, material.summaries, strict=True):
        estimate = excess_estimate(run, int(run.k.values[-1]))
        score = _first_score(run, summary)
        comparable = run is not first and kind(run) == kind(first)
        difference = excess_difference(first, run, material.ks[-1]) if comparable else None
        rows.append(
            {
                "name": name,
                "kind": kind(run),
                "blocks": summary["blocks"],
                "width": run.attrs.get("width", "–"),
                "prompts": summary["prompts"],
                "coupling": _digits(score["score"]),
                "chance": _digits(score["chance"]),
                "excess": percent(estimate),
                "difference": "–" if difference is None else percent(difference, " points", sign=True),
            }
        )
    paired = all(are_paired(first, run) for run in material.runs[1:])
    return {"rows": rows, "k": material.k_names[-1], "paired": paired, "scores": _all_scores(material)}


def _all_scores(material: Material) -> list[dict[str, Any]]:
    rows = []
    for run, name, summary in zip(material.compared, material.names, material.summaries, strict=True):
        for row in summary["scores"]:
            if row["variant"] == VARIANTS[0].label:
                estimate = excess_estimate(run, row["k"], row["norm"])
                rows.append(
                    {"name": name, "k": row["k_name"], "p": row["norm"], "excess": percent(estimate)}
                    | {field: _digits(row[field]) for field in ("score", "chance")}
                    | {"sd": _digits(row["sd_over_prompts"])}
                )
    return rows


def calibrated_rows(material: Material) -> list[dict[str, Any]]:
    """The calibrated measures of each run, with their chance levels."""
    return [
        {"name": name, "k": row["k_name"], "measure": row["label"]}
        | {"value": _digits(row["value"]), "sd": _digits(row["sd_over_prompts"]), "chance": _digits(row["chance"])}
        | {"z": "–" if row["z"] is None else f"{row['z']:z.1f}"}
        for name, summary in zip(material.names, material.summaries, strict=True)
        for row in summary["calibrated"]
    ]


def provenance(material: Material) -> list[dict[str, Any]]:
    """Where the numbers of each run come from."""
    return [
        {
            "name": name,
            "rows": [(clean(key, 100), clean(value, 1000)) for key, value in run.attrs.items() if value != ""],
        }
        for run, name in zip(material.runs, material.names, strict=True)
    ]


def percent(estimate: Estimate, unit: str = " %", *, sign: bool = False) -> str:
    """An excess in percent with its standard error, with as many digits as it has.

    Example:
        >>> percent(Estimate(0.15512, 0.0042))
        '15.5 ± 0.4 %'
    """
    value, error = estimate.value, estimate.standard_error
    digits = 1 if error is None or error >= 0.0005 else 2 if error >= 0.00005 else 3
    plus = "+" if sign else ""
    text = f"{100 * value:{plus}z.{digits}f}"
    return f"{text}{unit}" if error is None else f"{text} ± {100 * error:.{digits}f}{unit}"


def _digits(value: float | None) -> str:
    return "–" if value is None else significant(value)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str], *, semicolon: bool = False) -> str:
    """Names in a sentence."""
    shown = [printable(name, 60) for name in names]
    if len(shown) == 1:
        return shown[0]
    comma = "; " if semicolon else ", "
    return f"{comma.join(shown[:-1])}{',' if semicolon else ''} and {shown[-1]}"
