"""The error that a person can act on."""


class UserError(Exception):
    """Bad input: one clear line that names the file, layer or option and the way out (exit code 2)."""


def reason(error: BaseException) -> str:
    """What an exception says, in one line: the system's words where it is of the system."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
