"""The help of the commands: whole on narrow terminals, with an example of each command that works."""

import shlex
import shutil

import pytest
import typer

from coupling.cli.app import app

GROUP = typer.main.get_command(app)


def help_of(command, monkeypatch, columns):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: shutil.os.terminal_size((columns, 24)))
    context = GROUP.make_context("coupling", [], resilient_parsing=True)
    if command is None:
        return GROUP.get_help(context)
    inner = type(context)(GROUP.commands[command], info_name=command, parent=context)
    return GROUP.commands[command].get_help(inner)


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", [None, *GROUP.commands])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(command, columns, monkeypatch):
    text = help_of(command, monkeypatch, columns)
    examples = GROUP.commands[command].epilog.splitlines() if command else []
    lines = [line for line in text.splitlines() if line.strip() not in examples]
    assert max(map(len, lines)) <= min(columns, 100)
    assert "…" not in text
    assert "9223372036854775807" not in text


@pytest.mark.parametrize("command", list(GROUP.commands))
def test_every_option_is_described_in_a_whole_sentence(command, monkeypatch):
    text = help_of(command, monkeypatch, 100)
    for parameter in GROUP.commands[command].params:
        if not getattr(parameter, "hidden", False):
            assert parameter.help[0].isupper() or parameter.help.startswith("p "), parameter.help
            assert parameter.help.endswith((".", ")")), parameter.help
            assert parameter.param_type_name == "argument" or parameter.opts[-1] in text


@pytest.mark.parametrize("command", list(GROUP.commands))
def test_examples_have_only_options_that_exist(command):
    for line in GROUP.commands[command].epilog.splitlines():
        program, name, *words = shlex.split(line)
        assert (program, name) == ("coupling", command)
        known = {spelling for parameter in GROUP.commands[command].params for spelling in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


def test_choices_and_defaults_are_told(monkeypatch):
    text = " ".join(help_of("analyze", monkeypatch, 80).split())
    assert "One of depth, self, context-input, context-output. Default: depth." in text
    assert "One of encoder, decoder, vision." in text
    assert "--seed N Seed of every random draw. Default: 0." in text
