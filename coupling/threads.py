"""How long the threads of a parallel region wait actively for the next one; set before torch is loaded.

PyTorch's wheels for Linux bring GNU's OpenMP runtime, whose threads spin for milliseconds after every parallel region.
A process alone on its cores gains a little by that. Where two processes share the cores, a thread that spins holds a
core that another thread needs to reach the same barrier, and both processes become several times slower. A bounded
spin costs a lone process next to nothing (``python -m benchmarks.sharing`` measures both).
"""

import os
import sys
from collections.abc import MutableMapping

VARIABLE = "GOMP_SPINCOUNT"
SPIN_COUNT = 1000
"""Turns that a thread waits actively before it sleeps; the runtime's own default is 300,000."""


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Bound the active waiting of this process and of those that it starts, unless the user has chosen it.

    It has an effect only before torch is loaded, because the OpenMP runtime reads its settings once. The command line
    does this; a program that uses the library can do the same in its first lines.

    Args:
        environment: the environment variables.

    Returns:
        Whether the variable was set.

    Example:
        >>> bound_spinning({"OMP_WAIT_POLICY": "active"})
        False
    """
    chosen = VARIABLE in environment or "OMP_WAIT_POLICY" in environment
    if chosen or (environment is os.environ and "torch" in sys.modules):
        return False
    environment[VARIABLE] = str(SPIN_COUNT)
    return True
