"""The error that a person can act on."""


class UserError(Exception):
    """Bad input: one clear line that names the file, layer or option and the way out (exit code 2)."""
