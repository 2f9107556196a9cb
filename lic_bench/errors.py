"""What can go wrong through no fault of lic-bench: one class for each thing that a user can mend.

The text of each of these errors is made for a reader at a terminal: one or two lines that name the
file or the word at fault and what to do about it. The command line prints the text alone, without
a traceback.
"""

import re
import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import FrameType


class LicBenchError(Exception):
    """The base of every error that lic-bench raises on purpose."""


class SpecError(LicBenchError):
    """A codec spec, option or operating point does not exist or makes no sense."""


class UnavailableError(LicBenchError):
    """A codec or a data set is known but cannot be used here; the text says why and the remedy."""


class CodecError(LicBenchError):
    """A codec cannot encode an image: its program failed, or its format does not hold the size."""


class MetricError(LicBenchError):
    """A metric gives no figure of two images: its program failed, or printed something else."""


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


_LISTED = 2000
"""How many letters of names an error lists."""


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a SpecError if `name`, a thing of this kind, is not among the known ones."""
    known = list(known)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        listed = ", ".join(known) or "none"
        if len(listed) > _LISTED:  # names may be anybody's
            listed = f"{listed[:_LISTED]} ... ({len(known)} in all)"
        raise SpecError(f"There is no {kind} {name!r} here: {hint}There are {listed}.")


def find_known(kind: str, name: str, known: Iterable[str]) -> str:
    """The one of the known names that people mean by `name`, whatever its case and hyphens.

    Raises
    ------
    SpecError
        Where there is none, or more than one.
    """
    known = list(known)
    if name not in known:
        near = [one for one in known if plain(one) == plain(name)]
        if len(near) == 1:
            return near[0]
    check_known(kind, name, known)
    return name


def plain(name: str) -> str:
    """A name as people may type it: ``JPEG-2000`` is ``jpeg2000``."""
    return re.sub(r"[-_ ]", "", name.casefold())


def error_place(error: BaseException) -> str:
    """Where in a codec's own code an exception came from: ``my_codec.py:23, in encode``.

    That is the innermost place outside lic-bench, the standard library and installed packages. In a
    codec that is an installed package, it is where lic-bench called it; in none, an empty text.
    """
    places = list(traceback.walk_tb(error.__traceback__))
    outside = [place for place in places if not _is_bench(place[0]) and not _is_python(place[0])]
    own = [place for place in outside if _is_codec(place[0]) or not _is_installed(place[0])]
    for frame, line in own[-1:] or outside[:1]:
        return f"{Path(frame.f_code.co_filename).name}:{line}, in {frame.f_code.co_name}"
    return ""


def _is_codec(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("lic_bench.codecs.")


def _is_bench(frame: FrameType) -> bool:
    top, *_ = str(frame.f_globals.get("__name__")).split(".")
    return top == "lic_bench" and not _is_codec(frame)


def _is_python(frame: FrameType) -> bool:
    """Whether it is the standard library's, or of no file."""
    file = frame.f_code.co_filename
    library = file.startswith(sysconfig.get_path("stdlib")) and not _is_installed(frame)
    return library or file.startswith("<")


def _is_installed(frame: FrameType) -> bool:
    parts = Path(frame.f_code.co_filename).parts
    return "site-packages" in parts or "dist-packages" in parts
