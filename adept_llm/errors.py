"""The one error that is the user's to fix."""


class InputError(ValueError):
    """A mistake in what the user gave: a file, a row, an argument.

    The message is one clear line: what is wrong, where (file, line, field), what to do. The command
    line prints it and exits with code 2, without a traceback.
    """
