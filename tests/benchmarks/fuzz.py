"""Feed hostile bitstreams to every decoder, each in a process of its own.

    python tests/benchmarks/fuzz.py --minutes 10 --seed 1

A decoder may answer with an image or with `BitstreamError`. Whatever else happens is counted, its
stream is kept in a folder, and the exit code is 1. A stream may cost 1 GiB (RLIMIT_DATA, held by
the system) and so many bytes for each pixel that it claims; see `Target.bound`.
"""

from __future__ import annotations

import argparse
import pickle
import random
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from hostile_streams import Target, damaged, images, targets

from lic_bench import BitstreamError, LicBenchError, Registry, UnavailableError

_LENGTH = struct.Struct("<I")
_START_S = 120


def main() -> None:
    """Fuzz the decoders and print what became of the streams."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, help="for all decoders together")
    parser.add_argument("--streams", type=int, help="for each decoder, instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="decoders, separated by commas")
    parser.add_argument("--keep", type=Path, default=Path("fuzzed"), help="for what went wrong")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = targets(Path(folder), arguments.only.split(",") if arguments.only else ())
        print(f"{'decoder':32} {'streams':>8} {'refused':>8} {'decoded':>8} {'raised':>7} ", end="")
        print(f"{'crashes':>8} {'hangs':>6} {'peak':>9} {'of its bound':>13}")
        wrong = 0
        for target in chosen:
            try:
                tally = _fuzzed(
                    target,
                    random.Random(arguments.seed),  # noqa: S311 - to be repeated, not secret
                    60 * arguments.minutes / len(chosen),
                    arguments.streams,
                    arguments.keep,
                )
            except UnavailableError as error:
                print(f"{target.name:32} {error}")
                continue
            wrong += tally.wrong
            print(f"{target.name:32} {tally}", flush=True)
    if wrong:
        sys.exit(f"{wrong} went wrong: their streams are in {arguments.keep}")


@dataclass
class _Tally:
    """What became of a decoder's streams."""

    counts: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    """The memory that a stream took at most, in bytes."""
    share: float = 0
    """Of its bound that a stream took at most."""

    @property
    def wrong(self) -> int:
        return self.counts.total() - self.counts["refused"] - self.counts["decoded"]

    def __str__(self) -> str:
        c = self.counts
        return (
            f"{c.total():8} {c['refused']:8} {c['decoded']:8} {c['raised']:7} {c['crashed']:8} "
            f"{c['hung']:6} {self.peak >> 20:5} MiB {self.share:12.0%}"
        )


def _fuzzed(
    target: Target, rng: random.Random, seconds: float, streams: int | None, keep: Path
) -> _Tally:
    codec = Registry(target.plugins).codec(target.spec)
    points = [codec.points[0], codec.points[-1]]
    seeds = []
    for image, point in product(images(), points):
        with suppress(LicBenchError):  # not every format holds noise of every quality
            seeds.append(codec.encode(image, point))
    tally, child = _Tally(), _Child(target)
    end = time.monotonic() + seconds
    try:
        while tally.counts.total() < streams if streams else time.monotonic() < end:
            stream = target.mutated(rng, seeds)
            if rng.random() < 0.1:
                stream = damaged(rng, stream)
            verdict, note, peak = child.decode(stream)
            tally.counts[verdict] += 1
            tally.peak = max(tally.peak, peak)
            tally.share = max(tally.share, peak / target.bound(stream))
            if verdict not in ("refused", "decoded"):
                keep.mkdir(parents=True, exist_ok=True)
                number = tally.counts.total()
                name = f"{target.name.replace(' ', '-')}-{number}-{verdict}"
                (keep / name).write_bytes(stream)
                print(f"  {name}: {note}", flush=True)
            if verdict in ("crashed", "hung"):
                child.close()
                child = _Child(target)
    finally:
        child.close()
    return tally


class _Child:
    """A process that decodes what it is given; it may die of it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._send(pickle.dumps((target.spec, target.plugins)))
        self._started = False

    def decode(self, stream: bytes) -> tuple[str, str, int]:
        """What became of a stream, in a word and in a line, and the bytes that it took."""
        limit = self._target.time_limit_s(stream) + (0 if self._started else _START_S)
        self._started = True
        try:
            self._send(_LENGTH.pack(self._target.bound(stream) >> 20) + stream)
            pipe = self._process.stdout
            if not select.select([pipe], [], [], limit)[0]:
                return "hung", f"no answer after {limit:.0f} s", 0
            verdict, note, peak = pickle.loads(_received(pipe))  # noqa: S301 - our own child's
        except (BrokenPipeError, EOFError):
            return "crashed", f"exit code {self._process.wait()}", 0
        return verdict, note, peak

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _send(self, message: bytes) -> None:
        self._process.stdin.write(_LENGTH.pack(len(message)) + message)
        self._process.stdin.flush()


def _received(pipe: IO[bytes]) -> bytes:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pipe.read(_LENGTH.unpack(head)[0])


def _serve() -> None:
    """What the child does: decode, and tell."""
    warnings.simplefilter("ignore")
    answers = sys.stdout.buffer
    spec, plugins = pickle.loads(_received(sys.stdin.buffer))  # noqa: S301 - our own parent's
    registry = Registry(plugins)
    codec = registry.codec(spec)
    codec.decode(codec.encode(images()[0], codec.points[0]))  # loads what it loads
    while True:
        message = _received(sys.stdin.buffer)
        (mebibytes,) = _LENGTH.unpack_from(message)
        answer = pickle.dumps(_decoded(registry, spec, message[_LENGTH.size :], mebibytes << 20))
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _decoded(registry: Registry, spec: str, stream: bytes, bound: int) -> tuple[str, str, int]:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, children = _status("VmRSS"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + bound, hard))
    try:
        image: Any = registry.codec(spec).decode(stream)
        good = image.dtype == "uint8" and image.ndim == 3 and image.shape[2] == 3 and image.size
        answer = ("decoded", "") if good else ("raised", f"an array of {image.shape}")
    except BitstreamError as error:
        answer = "refused", str(error)
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        answer = "raised", f"{type(error).__name__}: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    peak = _status("VmHWM") - before
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return *answer, max(peak, largest << 10) if largest > children else peak


def _status(key: str) -> int:
    """A figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        _serve()
    else:
        main()
