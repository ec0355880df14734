"""Errors of one line, optional packages, and keywords that were renamed."""

import tomllib

import pytest

from coupling.errors import EXTRAS, CouplingError, first_line, one_line, renamed, require
from tests.helpers import ROOT


def test_messages_on_one_line():
    error = ValueError("  two\n   lines  ")
    assert first_line(error) == "two"
    assert one_line(error) == "two lines"
    assert one_line(error, 5) == "two l"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr("coupling.errors.find_spec", lambda module: None if module == "mistral_common" else object())
    require("jinja2", purpose="the report")
    with pytest.raises(CouplingError) as caught:
        require("jinja2", "mistral_common", purpose="the tokenizer")
    assert str(caught.value) == (
        "the tokenizer needs the mistral-common package, which is not installed: pip install 'block-coupling[mistral]'"
    )


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    assert set(extras["all"][0].split("[")[1].rstrip("]").split(",")) == set(extras) - {"all", "mistral"}


def test_a_renamed_keyword_warns_and_works():
    assert renamed("token", None, "tokens", 3) == 3
    with pytest.warns(FutureWarning, match="token is now called tokens"):
        assert renamed("token", 3, "tokens", None) == 3
    with pytest.raises(TypeError, match="both given"):
        renamed("token", 3, "tokens", 4)
