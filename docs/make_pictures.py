"""Draw every picture of the README from the bundled checkpoint, into this folder of the checkout.

Run it as ``python -m docs.make_pictures``; ``--out`` chooses another folder.
"""

import argparse
from pathlib import Path

import coupling
from coupling import figures

RUN_PICTURES = {
    "heatmap": lambda run, _: figures.heatmap(run),
    "circle": lambda run, _: figures.circle(run),
    "grid": lambda run, _: figures.grid(run, blocks=(1, 8)),
    "trajectory": lambda run, _: figures.trajectory(run),
    "linearity": lambda run, untrained: figures.linearity([run, untrained]),
    "spectrum": lambda run, untrained: figures.spectrum([run, untrained]),
    "angles": lambda run, untrained: figures.angles([run, untrained]),
}


def main() -> None:
    """Measure the bundled checkpoint, trained and untrained, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    run = coupling.analyze(k=(5, 10))
    untrained = coupling.analyze(k=(5, 10), random_weights=True)
    for name, draw in RUN_PICTURES.items():
        print(figures.save(draw(run, untrained), out / f"{name}.png"))


if __name__ == "__main__":
    main()
