"""How the chance level of the published points is printed."""

import io

from rich.console import Console

from coupling.analyses.correlation.published import correlate_published
from coupling.cli.render.chance_level import print_chance


def test_the_story():
    result = correlate_published(resamples=99)
    console = Console(file=io.StringIO(), width=100)
    print_chance(result["chance"], result["results"][0], result["measure"], console)
    text = console.file.getvalue()
    for part in (
        "It explains 93.0% of the variance of coupling, and 71.2% of that of leaderboard_average (coupling: 79.9%)",
        "the median 3.24, and chance gives 3.16",
        "exponent -0.49 ± 0.015, R² 0.98 over 23 models (all 28: -0.45 ± 0.029, R² 0.90)",
        "Orca-2-7b (1.29)",
        "OLMo-1B (1.14)",
        "at r = -0.01 (",
        "+0.565   0.24 to 0.78",
        "+0.317",
        "23 on the curve",
    ):
        assert part in text, part
    assert max(map(len, text.split("each given the other")[1].splitlines())) <= 80
