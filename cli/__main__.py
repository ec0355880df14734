"""The ``coupling`` command: where it begins."""

import os
import signal


def main() -> None:
    """Run the command line."""
    # While its modules are imported there is nothing to be saved: a signal ends the command at once, with its exit
    # code. A signal that the process was started to ignore stays ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: os._exit(128 + received))
    from coupling.cli import app

    app.main()


if __name__ == "__main__":
    main()
