"""Pictures that reports made before, kept in the user's cache folder.

Decoding and compressing anew is what a report takes longest for. A picture is kept under all that
decides on it: its bitstream, the original, the error that was measured, the codec's spec and
identity, the files of plugins, and the code that makes pictures. Only those are kept whose error
was found to be the one measured.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

from lic_bench.errors import OutputError
from lic_bench.files import atomic_write
from lic_bench.plugins.identity import file_digest
from lic_bench.reporting.page import pictures
from lic_bench.reporting.page.pictures import Picture

MOST_BYTES = 500_000_000
"""What is kept at most; those that were not shown for the longest time go first."""


def folder() -> Path:
    """``pictures`` in `LIC_BENCH_CACHE`, by default the user's cache folder."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("LIC_BENCH_CACHE") or user_cache_dir("lic-bench")) / "pictures"


class _Kept(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    data: bytes
    error: bytes | None
    importance: bytes | None
    exact: bool


class Remembered:
    """The pictures in a folder. What cannot be read or written is made anew; nothing fails."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most_bytes

    def find(self, key: str, picture: Picture) -> Picture | None:
        """The picture with what is kept of it; nothing where nothing is."""
        path = self._folder / key
        try:
            kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
            os.utime(path)  # it was shown now
        except (OSError, msgspec.MsgspecError):
            return None
        return replace(picture, **msgspec.structs.asdict(kept))

    def keep(self, key: str, picture: Picture) -> None:
        """Keep a picture that is there."""
        if picture.data is None or picture.problem is not None:
            return
        kept = _Kept(picture.data, picture.error, picture.importance, picture.exact)
        with suppress(OSError, OutputError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_write(self._folder / key) as part:
                part.write_bytes(msgspec.msgpack.encode(kept))

    def tidy(self) -> None:
        """Remove what is beyond the bound."""
        files = []
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    files.append((about.st_mtime_ns, about.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._most:
                return
            with suppress(OSError):
                Path(path).unlink()
            total -= size


def key_of(*parts: str | bytes | float, plugins: Sequence[Path] = ()) -> str:
    """A name for a picture, by what decides on it; no two lists of parts share one."""
    digest = hashlib.sha256(_code())
    for part in (*parts, *map(file_digest, plugins)):
        whole = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(whole).to_bytes(8, "big") + whole)
    return digest.hexdigest()


@cache
def _code() -> bytes:
    """What makes pictures: this version of lic-bench, of Pillow, and the module itself."""
    versions = f"{version('lic-bench')} {version('pillow')} ".encode()
    return versions + hashlib.sha256(Path(pictures.__file__).read_bytes()).digest()
