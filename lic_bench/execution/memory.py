"""The memory of a process and of all that it started: limited by the system, and watched."""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_SHARE = 0.8
_ROLLUP = re.compile(r"^(Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)
_IN_MEMORY = ("/dev/shm/", "/memfd:")  # noqa: S108 - where files take memory


def most_memory_gb() -> float:
    """Most of the memory of this machine or container, in 1e9 bytes; 0 where it is not known."""
    sizes = []
    with suppress(AttributeError, ValueError, OSError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, v2 and v1
        with suppress(OSError, ValueError):  # "max" is no number
            sizes.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return _SHARE * min(sizes, default=0) / 1e9


def limit(gigabytes: float) -> None:
    """Have a request for more memory fail, before the system kills a process of its choice.

    The system counts what is this process's own. What it shares, puts into files in memory or has
    programs take is counted by `taken`.
    """
    if gigabytes and sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = int(gigabytes * 1e9)
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def taken(pid: int | None, folders: Sequence[Path] = ()) -> int:
    """Bytes that a process and those that it started take; 0 where there is no /proc.

    What several share is counted once; files that they have mapped, libraries among them, are left
    out. Of files in memory those are counted that they have open, or that lie in `folders`.
    """
    own = shared = 0
    files = dict(_files_below(folders))
    for process in tree(pid):
        private, common = _parts(process)
        own, shared = own + private, shared + common
        files.update(_open_files(process))
    # A file in memory that is mapped is among what is shared, too.
    return own + max(shared, sum(files.values()))


def tree(pid: int | None) -> Iterator[int]:
    """A process and those that it started, by number, as far as they can be seen from it."""
    if pid is None:
        return
    yield pid
    with suppress(OSError):  # it has ended
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in path.read_text().split():
                yield from tree(int(child))


def _parts(pid: int) -> tuple[int, int]:
    """What is a process's own in memory, swapped out or not, and its part of what is shared."""
    with suppress(OSError):
        found = dict(_ROLLUP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
        if "Pss_Anon" in found:
            sizes = {name: 1024 * int(size) for name, size in found.items()}
            own = sizes["Pss_Anon"] + sizes.get("SwapPss", 0)
            return own, sizes.get("Pss_Shmem", 0)
    with suppress(OSError, ValueError):  # before Linux 5.9
        _, resident, mapped, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        return (resident - mapped) * mmap.PAGESIZE, 0
    return 0, 0


def _open_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """The files in memory that a process has open: which, and their size."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()).startswith(_IN_MEMORY):
                    status = link.stat()
                    yield (status.st_dev, status.st_ino), status.st_blocks * 512


def _files_below(folders: Sequence[Path]) -> Iterator[tuple[tuple[int, int], int]]:
    for top in folders:
        # What goes away meanwhile is left out: os.walk takes it so, Path.rglob does not.
        for folder, inner, names in os.walk(top):
            for name in (*inner, *names):
                with suppress(OSError):
                    status = Path(folder, name).lstat()
                    yield (status.st_dev, status.st_ino), status.st_blocks * 512
