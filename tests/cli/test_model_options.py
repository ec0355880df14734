"""Options that several commands have read the same in each of them, and have the same default."""

import pytest
import typer

from coupling.cli import model_options
from coupling.cli.app import app

MEASURING = {"analyze", "estimate", "sweep", "directions"}


def options_of(command):
    return {option.name: option for option in command.params if option.param_type_name == "option"}


@pytest.fixture(scope="module")
def commands():
    group = typer.main.get_command(app)
    return {name: options_of(command) for name, command in group.commands.items() if name in MEASURING}


@pytest.mark.parametrize("names", [("analyze", "estimate")])
@pytest.mark.parametrize(
    "option", ["kind", "tokens", "engine", "revision", "dtype", "device", "block_list", "trust_remote_code", "stream"]
)
def test_analyze_and_estimate_agree_on_what_is_measured(commands, names, option):
    first, second = (commands[name][option] for name in names)
    assert (first.help, first.default, first.opts) == (second.help, second.default, second.opts)


def test_directions_and_sweep_share_what_they_have(commands):
    for option in ("device", "trust_remote_code", "allow_pickle"):
        assert commands["directions"][option].help == commands["analyze"][option].help
    assert commands["sweep"]["tokens"].help == commands["analyze"]["tokens"].help


def test_every_option_of_the_module_is_used(commands):
    used = {option.help for options in commands.values() for option in options.values()}
    declared = [
        getattr(model_options, name).__metadata__[0].help
        for name in vars(model_options)
        if hasattr(getattr(model_options, name), "__metadata__")
    ]
    assert len(declared) == 10
    assert set(declared) <= used
