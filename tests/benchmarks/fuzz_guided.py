"""Let coverage guide the fuzz of one decoder: needs `pip install atheris` (Linux, Python 3.11).

    python tests/benchmarks/fuzz_guided.py content-weighted --minutes 5

Streams that reach new lines of our code are kept in a folder, and changed further. A decoder that
raises anything but `BitstreamError`, or takes too long or too much memory, ends the fuzz, and
libFuzzer leaves the stream that did it beside that folder.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

with atheris.instrument_imports(include=["lic_bench"]):
    from hostile_streams import images, targets

    from lic_bench import BitstreamError, Registry


def main() -> None:
    """Fuzz a decoder until the time is up or something goes wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("decoder", help="as tests/benchmarks/fuzz.py names it")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--keep", type=Path, default=Path("fuzzed"), help="the folder of streams")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        [target] = targets(Path(folder), [arguments.decoder])
        with atheris.instrument_imports(include=["lic_bench"]):
            codec = Registry(target.plugins).codec(target.spec)
            seeds = [codec.encode(image, codec.points[0]) for image in images()]
            codec.decode(seeds[0])
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (arguments.keep / f"seed-{number}").write_bytes(seed)

        def decode(stream: bytes) -> None:
            with suppress(BitstreamError):
                codec.decode(stream)

        def mutate(stream: bytes, size: int, seed: int) -> bytes:
            rng = random.Random(seed)  # noqa: S311 - to be repeated, not secret
            try:
                made = target.mutated(rng, [bytes(stream)])
            except Exception:  # noqa: BLE001 - what is changed is itself no stream any more
                made = target.mutated(rng, seeds)
            return made[:size]

        options = [
            f"-max_total_time={60 * arguments.minutes:.0f}",
            f"-timeout={target.seconds:.0f}",
            "-rss_limit_mb=4096",
            "-max_len=20000",
            f"-artifact_prefix={arguments.keep}.",
        ]
        atheris.Setup([sys.argv[0], *options, str(arguments.keep)], decode, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
