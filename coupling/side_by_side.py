"""Jacobians of one prompt made side by side, each by a thread of its own.

Where several threads share every product, they wait for each other at each of them, and all but one wait while Python
runs and while thin matrices are decomposed. Where each makes a Jacobian of its own, from the graph to the singular
vectors, they wait only while a block is replayed, since a replay changes the model's settings for a moment. On two
cores that is a tenth faster, and processes that share cores disturb each other less.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context

import torch

from coupling.factory import Factory
from coupling.linalg.pairwise import engine_for
from coupling.models.narrow import narrow_of
from coupling.plan import Key

FEWEST_ROWS = 256
"""Rows of a Jacobian that a thread makes in one pass at least; where the memory is too small for that, there are fewer
threads."""


def make_side_by_side(factory: Factory, counts: Mapping[Key, int]) -> Iterator[int]:
    """Make and factor the Jacobians of a prompt that are not ready, several at a time.

    Nothing is done where there is one thread only, or an accelerator makes them; the factory makes them then when they
    are asked for. The numbers depend on the number of threads, as those of every product do, not on which is faster.

    Args:
        factory: makes them; it keeps them in ``ready``.
        counts: the Jacobians whose matrices fit the memory, each with the number of those that it is compared with.

    Yields:
        1 for each.
    """
    keys = [key for key, count in counts.items() if key not in factory.ready and _is_dense(factory, count)]
    workers = _workers(factory, len(keys))
    if workers < 2:
        return
    with _threads(workers) as pool:
        contexts = [copy_context() for _ in keys]
        jobs = [
            pool.submit(context.run, factory.make, key, n_compared=counts[key], passes=workers)
            for key, context in zip(keys, contexts, strict=True)
        ]
        for key, job in zip(keys, jobs, strict=True):
            factory.ready[key] = job.result()
            yield 1


def _is_dense(factory: Factory, count: int) -> bool:
    """Whether the matrix of a Jacobian is formed."""
    width = factory.recording.width
    return engine_for((width, width), factory.plan.ks.largest, count, factory.settings.engine) == "dense"


def _workers(factory: Factory, jacobians: int) -> int:
    """How many Jacobians are made at a time."""
    recording = factory.recording
    if recording.trajectory.device.type != "cpu" or not recording.token_local:
        return 1
    if narrow_of(recording.model) is not None:
        return 1  # one block at a time is widened
    row = 48 * recording.width * recording.trajectory.dtype.itemsize
    fitting = factory.resources.pass_bytes // (FEWEST_ROWS * row)
    return min(torch.get_num_threads(), jacobians, fitting)


@contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share those of PyTorch; what has not begun when an error comes is not begun."""
    threads = torch.get_num_threads()
    each = threads // workers
    pool = ThreadPoolExecutor(workers, "coupling", initializer=torch.set_num_threads, initargs=(each,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # PyTorch gives new threads the number that was set last in any of them
