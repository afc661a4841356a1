"""What ends a command."""


class UsageError(Exception):
    """The command line asks for what cannot be."""


class CommandError(Exception):
    """What was asked for failed; the message is what to print."""
