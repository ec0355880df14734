"""The prompts that options of the command line name, and the warnings about them."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coupling.untrusted import clean

if TYPE_CHECKING:
    from coupling.models.prompts import Prompts


def prompts_of(
    prompts: str | None,
    column: str | None,
    dataset: str | None,
    dataset_config: str | None,
    split: str | None,
    limit: int | None,
    *,
    chat: bool,
) -> "Prompts":
    """The texts that the options name."""
    from coupling.models.prompts import dataset_prompts, read_prompts

    if dataset is not None:
        texts = dataset_prompts(dataset, config=dataset_config, split=split, column=column, limit=limit, chat=chat)
    else:
        texts = read_prompts(prompts, column=column, chat=chat)
    return texts.limited(limit)


@contextmanager
def prompt_warnings() -> Iterator[None]:
    """Print the library's warnings about prompts as one line each; other warnings stay as they are."""
    from coupling.models.chat import PromptWarning

    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *arguments: Any) -> None:
        if issubclass(category, PromptWarning):
            print(f"warning: {clean(message)}", file=sys.stderr)
        else:
            usual(message, category, *arguments)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=PromptWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
