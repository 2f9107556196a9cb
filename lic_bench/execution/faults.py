"""Why a request has no value: refused, raised, out of memory, out of time, died.

Whatever a codec does wrong is one of these, in every command: a run, a check, a report.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from lic_bench.errors import LicBenchError, error_place
from lic_bench.printable import printable, reason

_TRACEBACK_LENGTH = 20_000

# What C libraries say where they find no memory, and raise as an error of another kind.
_NO_MEMORY = (
    "defaultcpuallocator: can't allocate memory",  # torch
    "defaultcpuallocator: not enough memory",
    "cuda out of memory",
    "(-4:insufficient memory)",  # OpenCV
)


class FaultError(LicBenchError):
    """A request has no value; the text says why, in one line."""

    option = ""
    """The option of the command line that sets the limit, where one was reached."""

    def advice(self) -> str:
        """What it says, with the option that sets the limit which was reached."""
        return f"{self} ({self.option})" if self.option else str(self)


class RefusedError(FaultError):
    """The codec refused what it was given, with the error that is meant for it."""


class RaisedError(FaultError):
    """The codec raised something that it must not raise, or returned what it must not return.

    Parameters
    ----------
    text
        Type and text of what was raised, in one line.
    trace
        The whole traceback.
    place
        Where in the codec's own code: ``my_codec.py:23, in encode``.
    """

    def __init__(self, text: str, trace: str = "", place: str = "") -> None:
        super().__init__(text)
        self.trace, self.place = trace, place

    def __reduce__(self) -> tuple[type[RaisedError], tuple[str, str, str]]:
        return RaisedError, (str(self), self.trace, self.place)


class OutOfMemoryError(FaultError):
    """There was no memory for it within the limit, or none at all."""

    option = "--memory"


class OutOfTimeError(FaultError):
    """It took longer than it may, and was stopped."""

    option = "--timeout"


class DiedError(FaultError):
    """Its process died."""


def fault_of(error: BaseException, refusal: type[LicBenchError] = LicBenchError) -> FaultError:
    """What an exception means to whoever asked.

    Parameters
    ----------
    refusal
        The error by which a codec may refuse what it is given.
    """
    if lacks_memory(error):
        return OutOfMemoryError(reason(error))
    if isinstance(error, refusal):
        return RefusedError(" ".join(str(error).split()))
    return RaisedError(reason(error), trace_of(error), printable(error_place(error)))


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that there is no memory left."""
    return any(
        isinstance(cause, MemoryError)
        or (isinstance(cause, RuntimeError) and type(cause).__name__ == "OutOfMemoryError")
        or (not isinstance(cause, LicBenchError) and _says_no_memory(cause))
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised from."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and all(cause is not other for other in seen):
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _says_no_memory(error: BaseException) -> bool:
    text = reason(error).lower()
    return any(words in text for words in _NO_MEMORY)


def trace_of(error: BaseException) -> str:
    """The traceback of an exception, as Python shows it; its end, where it is very long."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - as in `reason`
        text = "".join(traceback.format_tb(error.__traceback__))
    return "\n".join(map(printable, text[-_TRACEBACK_LENGTH:].splitlines()))
