"""What can go wrong through no fault of lic-bench: one class for each thing that a user can mend.

The text of each of these errors is made for a reader at a terminal: one or two lines that name the
file or the word at fault and what to do about it. The command line prints the text alone, without
a traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LicBenchError(Exception):
    """The base of every error that lic-bench raises on purpose."""


class SpecError(LicBenchError):
    """A codec spec, option or operating point does not exist or makes no sense."""


class UnavailableError(LicBenchError):
    """A codec or a data set is known but cannot be used here; the text says why and the remedy."""


class CodecError(LicBenchError):
    """A codec cannot encode an image: its program failed, or its format does not hold the size."""


class BitstreamError(LicBenchError):
    """A bitstream is damaged, cut short, or of another format, version or model."""


class ImageError(LicBenchError):
    """An image file cannot be read, or holds what 8-bit RGB cannot."""


class DatasetError(LicBenchError):
    """A data set is unknown, incomplete, empty, or fails its checksum."""


class StoreError(LicBenchError):
    """A store cannot be opened or written, or holds something else under a name."""


class ImportedResultsError(LicBenchError):
    """Results from elsewhere cannot be read, or hold what cannot be right."""


class OutputError(LicBenchError):
    """A file cannot be written."""


class UndefinedError(LicBenchError):
    """A figure was asked for that is not defined for these measurements."""


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a SpecError if `name`, a thing of this kind, is not among the known ones."""
    known = list(known)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SpecError(f"There is no {kind} {name!r} here: {hint}There are {', '.join(known)}.")
