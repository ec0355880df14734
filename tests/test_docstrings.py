"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import coupling


def modules_with_examples() -> list[str]:
    found = []
    for module in pkgutil.walk_packages(coupling.__path__, "coupling."):
        if module.name.endswith("__main__"):
            continue
        source = importlib.util.find_spec(module.name).loader.get_source(module.name)
        if ">>> " in source:
            found.append(module.name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


def test_the_main_functions_have_examples():
    for function in (
        coupling.analyze, coupling.measure, coupling.record, coupling.score, coupling.mismatch, coupling.excess,
        coupling.line_shape_score, coupling.expodistance, coupling.top_singular_triplets,
        coupling.rl.effective_sample_size, coupling.rl.p3o_loss,
    ):  # fmt: skip
        assert ">>> " in function.__doc__, function
