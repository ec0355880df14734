"""The Typer application: gathers the commands, and turns errors into one line and an exit code."""

import os
import sys
import time
from typing import Annotated, Any

import typer

from coupling.cli import analyze, correlate, diff, directions, estimate, plot, report, rl, show, status, sweep
from coupling.cli.help import CommandHelp, GroupHelp
from coupling.cli.interrupts import caught
from coupling.cli.options import as_options
from coupling.cli.streams import discard_stdout, flush_stdout, prepared_streams
from coupling.errors import EXTRAS, CouplingError, missing_extra, one_line
from coupling.threads import bound_spinning
from coupling.untrusted import MOST_SHOWN, clean

OTHERS_WAIT = 10
"""Seconds after which a process other than the first reports its own failure, if the first has not ended it."""

app = typer.Typer(
    name="coupling",
    help="Measure transformer block coupling on any Hugging Face checkpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=GroupHelp,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _command(name: str, function: Any, *examples: str) -> None:
    """Register a command, with the examples that its help shows."""
    app.command(name=name, cls=CommandHelp, epilog="\n".join(examples))(function)


_command(
    "analyze",
    analyze.analyze,
    "coupling analyze EleutherAI/pythia-160m --prompts prompts.jsonl --k 5 --k 10",
    "coupling analyze ./checkpoint --prompts 'The capital of France is' --out runs/mine",
)
_command(
    "estimate",
    estimate.estimate,
    "coupling estimate EleutherAI/pythia-160m --limit 64",
    "coupling estimate EleutherAI/pythia-160m --kind self --length 256",
)
_command("show", show.show, "coupling show runs/mine", "coupling show runs/* --sort excess")
_command("plot", plot.plot, "coupling plot runs/mine --picture heatmap -o heatmap.png")
_command("report", report.report, "coupling report runs/mine runs/other -o report.html")
_command("diff", diff.diff, "coupling diff runs/base runs/tuned")
_command("directions", directions.directions, "coupling directions runs/mine --blocks 3:6")
_command(
    "correlate",
    correlate.correlate,
    "coupling correlate runs/* --scores results.json",
    "coupling correlate --published",
)
_command("sweep", sweep.sweep, "coupling sweep EleutherAI/pythia-160m --revisions step1,step512 --out pythia")
_command("status", status.status, "coupling status pythia")
_command("rl", rl.rl, "coupling rl examples/addition.yaml --out addition", "coupling rl --demo --save-every 40")


def _print_version(asked: bool) -> None:
    if asked:
        from coupling.version import __version__

        typer.echo(f"block-coupling {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Measure transformer block coupling on any Hugging Face checkpoint."""


def main() -> None:
    """Run the command line: exit 0 done, 1 the user's input or environment, 2 wrong usage, 130 or 143 interrupted."""
    bound_spinning()
    with prepared_streams(), caught() as asked:
        code = _run()
        code = asked() or code
    sys.exit(code)


def _run() -> int:
    """Run the command, and print its error on one line; the exit code."""
    try:
        code = app(standalone_mode=False)
        flush_stdout()
    except CouplingError as error:
        return _fail(as_options(str(error), _options_of_command()), 1)
    except typer.TyperException as error:  # wrong usage: an unknown option, a missing argument
        usage: Any = error
        if usage.format_message().startswith("Usage: "):  # nothing was given, and the message is the help
            print(usage.format_message(), file=sys.stderr)
            return int(usage.exit_code)
        hint = f"; see {usage.ctx.command_path} --help" if getattr(usage, "ctx", None) is not None else ""
        return _fail(usage.format_message().rstrip(".") + hint, usage.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # nobody reads the output any more, as in `coupling show RUN | head`
        discard_stdout()
        return 1
    except MemoryError:
        return _fail("the machine's memory is not enough; try a shorter prompt or a smaller model", 1)
    except Exception as error:
        if "COUPLING_DEBUG" in os.environ:
            raise
        return _fail(_message_of(error), 1)
    return code if isinstance(code, int) else 0


def _message_of(error: Exception) -> str:
    """What is said of an error that no part of the library has put into words."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        return str(missing_extra((error.name or "").partition(".")[0], "this command"))
    if type(error).__name__ == "OutOfMemoryError":
        hint = "try `dtype='bfloat16'`, `device='cpu'` or a shorter prompt"
        return as_options(f"the device's memory is not enough; {hint}", _options_of_command())
    if isinstance(error, OSError) and error.strerror:  # of the machine: a full disk, no permission, too many files
        place = error.filename if error.filename is not None else "the output"
        return f"cannot read or write {place}: {error.strerror}"
    return f"unexpected {type(error).__name__}: {one_line(error)} (COUPLING_DEBUG=1 shows where; please report it)"


def _options_of_command() -> set[str]:
    """The options of the command that was called; for one that reads runs also those of the command that makes them."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    name = next((word for word in sys.argv[1:] if word in commands), None)
    names = {name} if name in ("analyze", "rl", None) else {name, "analyze"}
    parameters = [parameter for one in names if one is not None for parameter in commands[one].params]
    return {option for parameter in parameters for option in parameter.opts}


def _fail(message: str, code: int) -> int:
    """Print an error, and give its exit code."""
    if int(os.environ.get("RANK") or 0):  # the first of several processes reports, and the launcher then ends this one
        time.sleep(OTHERS_WAIT)
    print(f"error: {clean(' '.join(message[: MOST_SHOWN * 2].split()))}", file=sys.stderr)
    return code
