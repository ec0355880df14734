"""The prompts or images of a study as ``study.json`` keeps them, so that every task measures the same ones.

Texts are kept themselves. Of images, their place and the hash of their pixels are kept: every task reads them anew,
with the names that they have for the user.
"""

from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coupling.errors import CouplingError
from coupling.untrusted import clean, expanded

if TYPE_CHECKING:
    from coupling.analyses.sweep.study import Study
    from coupling.models.images import Images
    from coupling.models.prompts import Prompts


def inputs_as_json(study: "Study") -> dict[str, Any]:
    """What ``study.json`` keeps of a study's prompts or images.

    Args:
        study: the study.

    Returns:
        A mapping with the one key ``prompts`` or ``images``.

    Raises:
        CouplingError: if the prompts or images cannot be read.
    """
    images = study.images()
    if images is None:
        return {"prompts": prompts_as_json(study.prompts())}
    options = study.input_options
    given = options["images"]
    names = [given] if isinstance(given, str) else list(given)
    place = {
        "names": [absolute_name(name) for name in names],
        "several": not isinstance(given, str),
        "folder": str(Path.cwd()),
        "relative": any(absolute_name(name) != name for name in names),
    }
    reading = {key: options.get(key) for key in ("column", "dataset_config", "split", "limit")}
    return {"images": place | reading | {"source": images.source, "count": len(images.items), "digest": images.digest}}


def arguments_of(content: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``coupling.analyze`` for the inputs that ``study.json`` keeps.

    Args:
        content: what ``study.json`` contains.

    Returns:
        ``prompts`` or ``images``; for the bundled prompts at most ``limit``, so that a model of images gets the bundled
        images.

    Raises:
        CouplingError: if the images cannot be read, or are not those that the study began with.
    """
    if "images" in content:
        return {"images": _images(content["images"])}
    from coupling.models.prompts import bundled_prompts

    prompts = prompts_from_json(content["prompts"])
    bundled = bundled_prompts()
    if prompts.source == bundled.source and prompts.texts == bundled.texts:
        return {}
    if prompts.source == bundled.source and prompts.texts == bundled.texts[: len(prompts.texts)]:
        return {"limit": len(prompts.texts)}
    return {"prompts": prompts}


def prompts_as_json(prompts: "Prompts") -> dict[str, Any]:
    """Prompts as ``study.json`` keeps them."""
    content = {"texts": prompts.texts, "source": prompts.source, "conversations": prompts.conversations}
    is_known = prompts.categories is None or prompts.source == "bundled"
    return content if is_known else content | {"categories": prompts.categories}


def prompts_from_json(content: dict[str, Any]) -> "Prompts":
    """The prompts of ``study.json``."""
    from coupling.models.prompts import Prompts

    return Prompts(content["texts"], content["source"], content["conversations"], content.get("categories"))


def _images(content: dict[str, Any]) -> "Images":
    """The images of a study, checked against the hash of their pixels."""
    from coupling.models.images import read_images

    images = read_images(
        content["names"] if content["several"] else content["names"][0],
        column=content["column"],
        config=content["dataset_config"],
        split=content["split"],
        limit=content["limit"],
        source_name=content["source"],
    )
    if images.digest != content["digest"]:
        raise CouplingError(
            f"the images of {clean(content['source'], 300)} are not those that the study began with "
            f"({len(images.items)} now, {content['count']} then); restore them, or give another `out`"
        )
    if not content["relative"]:
        return images
    folder = f"{content['folder'].rstrip('/')}/"
    return replace(images, items=[replace(item, name=item.name.removeprefix(folder)) for item in images.items])


def absolute_name(name: str) -> str:
    """A local file, folder or pattern by its absolute path, for workers in other folders; other names as they are.

    Args:
        name: what the user gave.

    Raises:
        CouplingError: if it contains a NUL character, or the home folder of an unknown user.
    """
    path = expanded(name)
    if path.is_absolute() or not (path.exists() or has_magic(name)):
        return name
    return str(Path.cwd() / path)
