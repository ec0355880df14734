"""What ``coupling estimate`` prints."""

from rich.console import Console

from coupling.estimate import Estimate


def print_estimate(found: Estimate, screen: Console) -> None:
    """Print what a run will take, and what that is computed from."""
    streamed = ", which stay on disk but for two" if found.streamed else ""
    screen.print(
        f"{found.blocks} blocks{streamed} of width {found.width}, {found.parameters / 1e6:,.1f} million parameters",
        f"{found.prompts} prompts of {found.tokens} tokens, {found.jacobians} Jacobians, engine {found.engine}",
        f"time     about {duration(found.seconds)}, without loading the model",
        f"memory   about {found.memory_bytes / 1e9:.2f} GB on {found.device}, of it weights "
        f"{found.weights_bytes / 1e9:.2f} GB",
        sep="\n",
        highlight=False,
    )


def duration(seconds: float) -> str:
    """A time with its largest unit.

    Example:
        >>> duration(0.25), duration(90), duration(9000)
        ('0.2 s', '90 s', '2.5 hours')
    """
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
