"""The prompts and images that options of the command line name."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from coupling.models.images import Images
    from coupling.models.prompts import Prompts


def check_sources(
    prompts: str | None, dataset: str | None, dataset_config: str | None, split: str | None, images: str | None
) -> None:
    """Check that the options name one source of prompts or images."""
    if prompts is not None and dataset is not None:
        raise typer.BadParameter("--prompts and --dataset exclude each other")
    if images is not None and (prompts is not None or dataset is not None):
        raise typer.BadParameter("--images excludes --prompts and --dataset")
    if dataset is None and images is None and (split is not None or dataset_config is not None):
        raise typer.BadParameter("--split and --dataset-config apply to --dataset and to --images")


def prompts_of(
    prompts: str | None,
    column: str | None,
    dataset: str | None,
    dataset_config: str | None,
    split: str | None,
    limit: int | None,
    *,
    chat: bool,
    images: str | None = None,
) -> "Prompts | None":
    """The texts that the options name; None where they name none, and the model decides which bundled set is used."""
    if images is not None or (prompts is None and dataset is None and column is None):
        return None
    from coupling.models.prompts import dataset_prompts, read_prompts

    if dataset is not None:
        texts = dataset_prompts(dataset, config=dataset_config, split=split, column=column, limit=limit, chat=chat)
    else:
        texts = read_prompts(prompts, column=column, chat=chat)
    return texts.limited(limit)


def images_of(
    images: str | None, column: str | None, config: str | None, split: str | None, limit: int | None
) -> "Images | None":
    """The images that the options name; None where they name none."""
    if images is None:
        return None
    from coupling.models.images import read_images

    return read_images(images, column=column, config=config, split=split, limit=limit)
