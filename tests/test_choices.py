"""The values that options accept."""

from coupling.choices import VARIANTS, variant_of


def test_variants_name_the_variables_of_a_run(measured):
    names = [variant.variable() for variant in VARIANTS]
    assert names == ["mismatch", "mismatch_signed", "mismatch_swapped", "mismatch_swapped_signed"]
    assert all(name in measured for name in names)


def test_the_chance_level_is_the_same_swapped_or_not(measured):
    levels = {variant.variable("chance") for variant in VARIANTS}
    assert levels == {"chance", "chance_signed"}
    assert all(name in measured for name in levels)


def test_a_variant_is_found_by_its_properties():
    for variant in VARIANTS:
        assert variant_of(signed=variant.signed, swapped=variant.swapped) is variant
