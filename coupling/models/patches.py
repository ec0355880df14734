"""Where an image model's tokens are: special tokens first, then patches by row and column."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from coupling.errors import CouplingError

CLASS, CENTER = "class token", "center patch"
"""What is measured by default: the class token where there is one, else the center patch."""
SPECIAL: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cls", ("cls_token", "class_embedding", "class_token", "cls_embed")),
    ("dist", ("distillation_token", "dist_token")),
    ("reg", ("register_tokens", "register_token", "reg_token", "reg_tokens", "storage_tokens")),
)
"""Labels of special tokens, and how transformers and timm call their parameters; in the order of the sequence."""


@dataclass(frozen=True)
class PatchGrid:
    """The tokens of one image.

    Attributes:
        special: labels of the tokens in front of the patches, such as "cls", "dist", "reg1".
        rows: rows of patches.
        columns: patches per row.
    """

    special: tuple[str, ...]
    rows: int
    columns: int

    @classmethod
    def of(cls, model: nn.Module, pixel_values: Tensor, n_tokens: int) -> "PatchGrid":
        """The grid of an image of these pixels, given the number of tokens in the residual stream.

        Args:
            model: a transformers or timm model.
            pixel_values: what it was given, (1, channels, height, width).
            n_tokens: n.

        Raises:
            CouplingError: if the tokens are not patches of the image in rows, with special tokens in front.
        """
        height, width = patch_size(model)
        rows, columns = pixel_values.shape[-2] // height, pixel_values.shape[-1] // width
        n_special = n_tokens - rows * columns
        if n_special < 0 or rows * columns == 0:
            raise CouplingError(
                f"the blocks of {type(model).__name__} are given {n_tokens} tokens, but an image of "
                f"{pixel_values.shape[-2]} x {pixel_values.shape[-1]} pixels has {rows} x {columns} patches of "
                f"{height} x {width} pixels, so its tokens are not its patches"
            )
        special = special_labels(model)
        if len(special) != n_special:
            special = tuple(f"special{index + 1}" for index in range(n_special))
        return cls(special, rows, columns)

    @property
    def labels(self) -> list[str]:
        """One label per token; that of a patch is its row and column."""
        return [*self.special, *(f"({row}, {column})" for row in range(self.rows) for column in range(self.columns))]

    @property
    def default(self) -> tuple[int, str]:
        """The token that is measured by default, and what it is."""
        if "cls" in self.special:
            return self.special.index("cls"), CLASS
        return self.token(self.rows // 2, self.columns // 2), CENTER

    def token(self, row: int, column: int) -> int:
        """The token of a patch; negative numbers count from the last row and column.

        Raises:
            CouplingError: if there is no such patch.
        """
        if not (-self.rows <= row < self.rows and -self.columns <= column < self.columns):
            raise CouplingError(
                f"there is no patch {row},{column}: the image has {self.rows} x {self.columns} patches, 0,0 to "
                f"{self.rows - 1},{self.columns - 1}"
            )
        return len(self.special) + row % self.rows * self.columns + column % self.columns


def patch_size(model: nn.Module) -> tuple[int, int]:
    """The height and width of a patch in pixels.

    Raises:
        CouplingError: if neither the configuration nor the module of the patches says it.
    """
    config = getattr(model, "config", None)
    size: Any = getattr(config, "patch_size", None)
    if size is None:
        size = getattr(getattr(config, "vision_config", None), "patch_size", None)
    if size is None:
        size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise CouplingError(
        f"{type(model).__name__} does not say the size of its patches, so its tokens have no positions in the image"
    )


def special_labels(model: nn.Module) -> tuple[str, ...]:
    """Labels of the special tokens that a model has, by its parameters."""
    parameters = {name.rpartition(".")[2]: parameter for name, parameter in model.named_parameters()}
    labels: list[str] = []
    for label, names in SPECIAL:
        found = next((parameters[name] for name in names if name in parameters), None)
        if found is None:
            continue
        n = found.shape[-2] if found.ndim > 1 else 1
        labels += [f"{label}{index + 1}" for index in range(n)] if label == "reg" else [label] * min(n, 1)
    return tuple(labels)
