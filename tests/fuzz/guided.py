"""Fuzz one target for a night, led by the coverage of our code.

    pip install atheris
    python tests/fuzz/guided.py "TOML files" -max_total_time=28800

What follows the target is libFuzzer's. It ends at the first input that goes wrong, and keeps it as
``crash-...`` in the current folder; named as a last word, such a file is tried again.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["lic_bench"]):
    from targets import TARGETS, refused_or_read


class Led(random.Random):
    """Chance that is read from bytes, so that whoever chooses these chooses what happens."""

    def __init__(self, content: bytes) -> None:
        super().__init__(0)
        self._content, self._at = content, 0

    def getrandbits(self, k: int, /) -> int:
        """The next bytes; zeros where there are no more."""
        count = -(-k // 8)
        part = self._content[self._at : self._at + count].ljust(count, b"\0")
        self._at += count
        return int.from_bytes(part, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """From 0 to 1, by two bytes."""
        return self.getrandbits(16) / (1 << 16)


def main() -> None:
    """Fuzz the target that is named."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        options = [sys.argv[0], "-len_control=0", "-max_len=4096", *sys.argv[1:]]
        atheris.Setup(options, lambda data: refused_or_read(target, Led(data), Path(name)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
