"""Coupling during a training run: the callback for any ``transformers.Trainer``, and the table of what it measured."""

from coupling.training.callback import CouplingCallback
from coupling.training.history import history_table

__all__ = ["CouplingCallback", "history_table"]
