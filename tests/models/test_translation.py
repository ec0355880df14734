"""What loaders raise becomes one true line."""

import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from coupling.errors import CouplingError
from coupling.models.translation import call, is_unreachable


def failing(error):
    def loader():
        raise error

    return loader


def test_an_unreachable_hub_is_known_by_the_type_of_its_error():
    wrapped = OSError("some words")
    wrapped.__cause__ = LocalEntryNotFoundError("other words")
    assert is_unreachable(wrapped)
    assert is_unreachable(ConnectionResetError("reset"))
    assert not is_unreachable(OSError("we could not connect to the connection"))


@pytest.mark.parametrize(
    ("name", "error", "options", "message"),
    [
        ("./m", OSError("bad header"), {}, r"truncated or corrupt \(OSError: bad header"),
        ("./m", ImportError("install x"), {}, "a package is missing: install x"),
        (
            "./m",
            RuntimeError("needs a GPU"),
            {"quantization": "gptq"},
            "quantized by gptq, and transformers reports: needs",
        ),
        ("org/m", OSError("do not set `use_safetensors=True`"), {}, "no safetensors; .* `allow_pickle=True`"),
        ("org/m", ConnectionError("x"), {}, "the Hugging Face hub cannot be reached"),
        ("bundled", ConnectionError("x"), {"bundled": True}, "truncated or corrupt"),
    ],
)
def test_reasons(name, error, options, message):
    with pytest.raises(CouplingError, match=message) as caught:
        call(name, "weights", failing(error), **options)
    assert "\n" not in str(caught.value)


class Code:
    """What a pickle of it does when it is read."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_holds_code_is_refused_and_never_advised(tmp_path, monkeypatch):
    """torch's own message says how to run the code."""
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, "weights.bin")
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        torch.load("weights.bin", weights_only=True)
    with pytest.raises(CouplingError, match="which can be code that runs when it is read, so it is refused") as caught:
        call("./m", "weights", torch.load, "weights.bin", weights_only=True)
    assert "weights_only" not in str(caught.value)
    assert not Path("ran").exists()
