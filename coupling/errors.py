"""The error that a user can mend: one clear line, no traceback on the command line."""


class CouplingError(ValueError):
    """Something is wrong with what was given; the message names it, what was expected, and what to do next."""
