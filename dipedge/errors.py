"""Every error dipedge raises on purpose.

Each message is one line that names the argument or the file, its value, and what is allowed. The
command line prints that line and ends with the class's ``exit_code``; nothing else is translated,
so a traceback always means a defect of ours.
"""


class DipedgeError(Exception):
    """Base of all deliberate errors; catching it catches them all."""

    exit_code = 1


class InputError(DipedgeError, ValueError):
    """An argument, picture, mask or option that cannot be used as given."""

    exit_code = 2


class FileError(InputError, OSError):
    """A file that cannot be read or written, or does not hold what its use needs."""


class EngineError(DipedgeError, RuntimeError):
    """A named engine that cannot run here, or cannot run this prior and task."""

    exit_code = 2


class EngineFallbackWarning(UserWarning):
    """``engine="auto"`` takes the native engine although there seems to be a GPU; the message says why."""


class OutOfMemoryError(DipedgeError, MemoryError):
    """A fit that needs more memory than there is; ``needed`` is the size in bytes."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed
