"""The training step that the name of a revision or of a checkpoint's folder contains."""

import re

PATTERNS = (
    r"(?:global_)?step[-_]?(\d+)",
    r"(?:checkpoint|ckpt)[-_]?(\d+)",
    r"iter(?:ation)?[-_]?(\d+)",
    r"epoch[-_]?(\d+)",
)
"""How training programs name checkpoints, the most telling first: a name such as epoch_3-step1000 is of step 1000."""


def step_of(name: str, pattern: str | None = None) -> int | None:
    """The step in the name of a revision or of a folder.

    Args:
        name: such as "step1000", "checkpoint-1000", "global_step1000", "iter_0001000", "epoch_3" or
            "stage1-step140000-tokens294B".
        pattern: a regular expression whose first group is the step; default: ``PATTERNS``.

    Returns:
        The step; None where the name contains none.

    Example:
        >>> step_of("iter_0001000"), step_of("stage1-step140000-tokens294B"), step_of("main")
        (1000, 140000, None)
    """
    for one in (pattern,) if pattern is not None else PATTERNS:
        expression = one if pattern is not None else rf"(?<![a-z]){one}"
        match = re.search(expression, name, re.IGNORECASE)
        if match is not None:
            return int(match[1])
    return None
