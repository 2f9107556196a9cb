"""Files of weights: published ones, which are fetched at first use and checked, and a user's own.

Published ones lie in the cache of `torch.hub`. Nothing here imports torch, but fetching: what a run
consists of is known without it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lic_bench.errors import UnavailableError
from lic_bench.plugins.identity import file_digest

_DIGITS = 8  # of a SHA-256, as in the names of published files


@dataclass(frozen=True)
class Weights:
    """A file of weights that is at hand, or may have to be fetched."""

    path: Path
    url: str = ""
    """Where it is published; nothing for a user's own."""
    sha256: str = ""
    """Of what is published: all digits, or those that it begins with."""

    def at_hand(self) -> bool:
        """Whether it need not be fetched."""
        return self.path.is_file()

    def digest(self) -> str:
        """The first eight digits of the SHA-256 of the file.

        Of a file that is yet to be fetched, that of what is published: it will be checked.
        """
        if self.url and not self.at_hand():
            return self.sha256[:_DIGITS]
        return file_digest(self.path)[:_DIGITS]

    def is_published(self) -> bool:
        """Whether a published file is what was published; a user's own is what it is."""
        if not self.url or not self.at_hand():
            return True
        return file_digest(self.path).startswith(self.sha256)

    def fetch(self) -> None:
        """Fetch it, with progress, where it is not at hand.

        Raises
        ------
        UnavailableError
            Where that fails.
        """
        if self.at_hand() or not self.url:
            return
        if "LIC_BENCH_OFFLINE" in os.environ:  # as where a stream is decoded that was sent
            raise UnavailableError(
                f"{self.path.name} is not at hand, and nothing is fetched to decode a stream; "
                "lic-bench run or lic-bench encode fetches it"
            )
        from torch.hub import download_url_to_file

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(self.url, str(self.path), hash_prefix=self.sha256)
        except (OSError, RuntimeError) as error:  # no network, no room; another hash
            raise UnavailableError(
                f"{self.url} cannot be fetched ({error}); lay it into {self.path.parent}"
            ) from error


def cache_folder() -> Path:
    """Where `torch.hub` keeps what it fetches."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("TORCH_HOME", caches / "torch"))
    return home.expanduser() / "hub" / "checkpoints"
