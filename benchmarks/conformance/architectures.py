"""The (model type, class) pairs that the suite visits, from transformers' own tables."""

from dataclasses import dataclass

from transformers.models.auto import modeling_auto

TABLES = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "backbone": "MODEL_FOR_BACKBONE_MAPPING_NAMES",
    "base": "MODEL_MAPPING_NAMES",
}
TITLES = {
    "causal": "Causal language models",
    "masked": "Masked language models",
    "image": "Image classification",
    "backbone": "Vision backbones",
    "base": "Base models of text, vision and several modalities",
}


@dataclass(frozen=True)
class Pair:
    """One architecture: a row of the table.

    Attributes:
        group: a key of ``TABLES``.
        model_type: the configuration's name of the family.
        class_name: the model class.
    """

    group: str
    model_type: str
    class_name: str

    @property
    def name(self) -> str:
        """A unique name: model type and class."""
        return f"{self.model_type}:{self.class_name}"


def all_pairs() -> list[Pair]:
    """Every pair of the tables, each class once per model type, in the order of the tables."""
    pairs: dict[str, Pair] = {}
    for group, table in TABLES.items():
        for model_type, names in getattr(modeling_auto, table).items():
            for class_name in names if isinstance(names, (tuple, list)) else (names,):
                pair = Pair(group, model_type, class_name)
                pairs.setdefault(pair.name, pair)
    return list(pairs.values())
