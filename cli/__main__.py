"""The ``coupling`` command."""

from coupling.cli.app import main

main()
