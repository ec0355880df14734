"""A loaded checkpoint: a model, its tokenizer or image processor, and what is known of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from coupling.models.image_processing import Processor
from coupling.models.offloading import Offloaded


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to be measured, and where it came from.

    Attributes:
        model: the model.
        tokenizer: its tokenizer; None for an image model.
        name: what the user called it.
        revision: the revision that the user asked for.
        block_list: the name of the list of its blocks.
        weights_format: what the weights were on disk: "safetensors", "bin", "gguf Q4_1", "safetensors, fp8", ...
        adapter: the method of the adapter that is merged into the model, such as "LORA"; empty for none.
        base: the model that the adapter was trained on.
        processor: what prepares its images; None for a model of text.
        offloaded: brings its blocks into memory, where they stay on disk; else None.
        with_head: makes the whole language model around ``model``; None where it has no head.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str
    block_list: str | None = None
    weights_format: str = ""
    adapter: str = ""
    base: str = ""
    processor: Processor | None = None
    offloaded: Offloaded | None = None
    with_head: Callable[[], nn.Module] | None = None

    @property
    def context(self) -> int | None:
        """The longest prompt that the model accepts, in tokens; None where it sets no limit.

        Where positions are counted from the padding's index on (RoBERTa), the first ones cannot be used.
        """
        config = self.model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
        limits.append(self.tokenizer.model_max_length)
        for name, module in self.model.named_modules():
            padding = getattr(module, "padding_idx", None)
            if isinstance(module, nn.Embedding) and "position" in name.rpartition(".")[2] and padding is not None:
                limits.append(module.num_embeddings - padding - 1)
        known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
        return min(known) if known else None
