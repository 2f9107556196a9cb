"""The contract: what every codec must do, as checks that anybody can run on his own.

    lic-bench check my_codec.py

or, in a test of one's own:

>>> @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
... def test_contract(check):
...     check(Subject("my-codec", plugins=(Path("my_codec.py"),)))

A check raises `ContractError` with what is wrong, or returns a note on what it found. The codec
runs in processes of its own, so that one that crashes, hangs or eats the memory is told of.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, cast

import numpy as np

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.codec.registry import Registry
from lic_bench.errors import BitstreamError, LicBenchError, SpecError
from lic_bench.execution.workers import start
from lic_bench.images.dataset import load_dataset
from lic_bench.images.image import Image, read_image
from lic_bench.metrics.builtin import image_metrics

SIZES = ((1, 1), (1, 7), (7, 1), (17, 31), (64, 64), (257, 129))
"""Width and height of the images whose size a codec must keep, or refuse."""

RATE_TOLERANCE = 0.02
"""By what share the rate may fall from one operating point to the next."""
QUALITY_TOLERANCE_DB = 0.1
"""By how much the quality may fall from one operating point to the next."""
RESIZED_TOLERANCE = 1 / 8
"""What share of streams with a flipped bit may decode to another size: formats keep theirs bare."""
MEMORY_TOLERANCE = 1 << 30
"""How much memory a damaged stream may cost, in bytes."""

_TRUNCATED = 24
_FLIPPED = 64
_HEAD = 64
"""Half of the flipped bits are within so many bytes of the beginning."""
_START_S = 120
"""For a process to start, and to load libraries and weights."""
_PATIENCE_S = 0.05


class ContractError(Exception):
    """A codec does not do what every codec must; the text says what."""


class _RefusedError(Exception):
    """A codec refuses an image or a stream; the text says why."""


@dataclass(frozen=True)
class Subject:
    """A codec that is to be checked."""

    spec: str
    plugins: tuple[Path, ...] = ()
    points: tuple[Point, ...] = ()
    """From low rate to high; none: the codec's own."""
    time_limit_s: float = 60
    """For one image."""

    def codec(self) -> Codec:
        """A fresh instance."""
        return _registry(self.plugins).codec(self.spec)

    def chosen_points(self) -> Sequence[Point]:
        """The operating points that are checked."""
        return self.points or self.codec().points


@dataclass(frozen=True)
class Outcome:
    """What came of a check."""

    title: str
    passed: bool
    note: str
    seconds: float


Check = Callable[[Subject], str]


def examine(subject: Subject) -> Iterator[Outcome]:
    """Do every check on a codec."""
    for check in CHECKS:
        start = perf_counter()
        try:
            passed, note = True, check(subject)
        except ContractError as error:
            passed, note = False, str(error)
        yield Outcome(title(check), passed, note, perf_counter() - start)
    _release()


def title(check: Check) -> str:
    """What a check asks, in a sentence."""
    return (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")


def keeps_size_and_type(subject: Subject) -> str:
    """Images of any size come back in their size, or are refused."""
    refused: dict[str, list[str]] = defaultdict(list)
    kept = 0
    with _process(subject) as process:
        for width, height in SIZES:
            image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
            for point in _ends(subject):
                try:
                    stream, _ = process.ask(f"encoding {width}x{height}", _encode, image, point)
                except _RefusedError as refusal:
                    refused[str(refusal)].append(f"{width}x{height}")
                else:
                    kept += 1
                    process.decode(stream, image)
    notes = "; ".join(
        f"{', '.join(dict.fromkeys(sizes))} refused: {why}" for why, sizes in refused.items()
    )
    if not kept:
        raise ContractError(notes)
    return notes


def leaves_the_image_alone(subject: Subject) -> str:
    """Encoding does not write into the image."""
    image = _photo(64, 48)
    with _process(subject) as process:
        for point in _ends(subject):
            _, written = process.ask("encoding", _encode, image, point)
            if written:
                raise ContractError("the image has other samples after it was encoded")
    return ""


def is_deterministic(subject: Subject) -> str:
    """The same image gives the same bytes, in another process too."""
    image = _photo(128, 112)
    with _process(subject) as first, closing(_Process(subject)) as second:
        for point in _ends(subject):
            stream = first.encode(image, point)
            if first.encode(image, point) != stream:
                raise ContractError(f"two streams of one image differ{_at(point)}")
            if second.encode(image, point) != stream:
                raise ContractError(f"two processes make different streams{_at(point)}")
    return ""


def bytes_suffice(subject: Subject) -> str:
    """The bytes alone decode to the same image in a fresh process."""
    image = _photo(128, 112)
    with _process(subject) as first, closing(_Process(subject)) as second:
        for point in _ends(subject):
            stream = first.encode(image, point)
            # The fresh process comes first: what is wrong here may be right in the other one.
            there = second.decode(stream, image)
            if not np.array_equal(there, first.decode(stream, image)):
                raise ContractError(f"two processes decode one stream differently{_at(point)}")
    return ""


def rate_and_quality_rise(subject: Subject) -> str:
    """Rate and quality rise with the operating points on a photograph.

    The quality is PSNR or MS-SSIM (in dB): a codec may be made for either.
    """
    points = subject.chosen_points()
    if len(points) < 2:
        return "one operating point"
    image = _photo(168, 168)  # MS-SSIM needs 161
    with _process(subject) as process:
        streams = [process.encode(image, point) for point in points]
        decoded = [process.decode(stream, image) for stream in streams]
    rates = [float(len(stream)) for stream in streams]
    fall = _fall(rates, [RATE_TOLERANCE * rate for rate in rates])
    if fall is not None:
        raise ContractError(_told("the rate", "bytes", points, rates, fall))
    found = [image_metrics(image, one) for one in decoded]
    psnr = [float(one["psnr_rgb_db"] or 0) for one in found]
    ms_ssim = [_db(float(one["ms_ssim_rgb"] or 0)) for one in found]
    allowed = [QUALITY_TOLERANCE_DB] * len(points)
    fall = _fall(psnr, allowed)
    if fall is not None and _fall(ms_ssim, allowed) is not None:
        raise ContractError(_told("the PSNR", "dB", points, psnr, fall))
    pixels = image.shape[0] * image.shape[1]
    low, high = (f"{8 * rates[i] / pixels:.3f} bpp, {psnr[i]:.1f} dB" for i in (0, -1))
    return f"{len(points)} operating points, {low} to {high}"


def rate_rises_along_the_range(subject: Subject) -> str:
    """The ends of the range of operating points are possible, and the rate rises along it."""
    codec = subject.codec()
    if codec.point_range is None:
        return "no range"
    image = _photo(168, 168)
    rates = []
    with _process(subject) as process:
        for point in codec.point_range:
            try:
                codec.check_point(point)
            except SpecError as error:
                raise ContractError(f"an end of the range is refused: {error}") from error
            rates.append(len(process.encode(image, point)))
    low, high = map(point_text, codec.point_range)
    told = f"{rates[0]} bytes at {low}, {rates[1]} at {high}"
    if rates[0] >= rates[1]:
        raise ContractError(f"the rate does not rise along the range: {told}")
    return told


def survives_truncation(subject: Subject) -> str:
    """A stream that is cut short is refused, or decodes to the right size."""

    def cut(stream: bytes) -> Iterator[tuple[str, bytes]]:
        for length in sorted({*np.linspace(1, len(stream) - 1, _TRUNCATED, dtype=int).tolist()}):
            yield f"the first {length} of {len(stream)} bytes", stream[:length]

    return _survives(subject, cut)


def survives_flipped_bits(subject: Subject) -> str:
    """A stream with a flipped bit is refused, or decodes to the right size."""

    def flip(stream: bytes) -> Iterator[tuple[str, bytes]]:
        rng = np.random.default_rng(2)
        for i in range(_FLIPPED):
            position = int(rng.integers(min(_HEAD, len(stream)) if i % 2 else len(stream)))
            bit = int(rng.integers(8))
            damaged = bytearray(stream)
            damaged[position] ^= 1 << bit
            yield f"a stream with bit {bit} of byte {position} flipped", bytes(damaged)

    return _survives(subject, flip, RESIZED_TOLERANCE)


def refuses_foreign_streams(subject: Subject) -> str:
    """What is no stream is refused."""
    noise = np.random.default_rng(3).bytes(1000)
    foreign = {
        "no bytes": b"",
        "a zero": b"\0",
        "a text": b"hello, decoder",
        "1000 zeros": bytes(1000),
        "1000 random bytes": noise,
        "a damaged PNG file": b"\x89PNG\r\n\x1a\n" + noise,
    }
    with _process(subject) as process:
        process.warm_up()
        for what, stream in foreign.items():
            with suppress(_RefusedError):
                process.ask(f"decoding {what}", _decode, stream)
                raise ContractError(f"{what} decoded to an image; a BitstreamError is due")
    return ""


CHECKS: tuple[Check, ...] = (
    keeps_size_and_type,
    leaves_the_image_alone,
    is_deterministic,
    bytes_suffice,
    rate_and_quality_rise,
    rate_rises_along_the_range,
    survives_truncation,
    survives_flipped_bits,
    refuses_foreign_streams,
)
"""Every check, in the order in which they are done."""


def _survives(
    subject: Subject, damage: Callable[[bytes], Iterator[tuple[str, bytes]]], resized: float = 0
) -> str:
    """See what becomes of damaged streams, of which a share may decode to another size."""
    refused, others, last = 0, 0, ""
    with _process(subject) as process:
        stream, shape = process.warm_up()
        streams = list(damage(stream))
        for what, damaged in streams:
            try:
                decoded = process.ask(f"decoding {what}", _decode, damaged)
            except _RefusedError:
                refused += 1
                continue
            if decoded.shape != shape:
                others += 1
                last = f"{what} decoded to {decoded.shape}, not {shape}"
    if others > resized * len(streams):
        raise ContractError(f"{others} of {len(streams)} decoded to another size; {last}")
    note = f"{len(streams)} streams, {refused} refused"
    return f"{note}, {others} decoded to another size" if others else note


class _Process:
    """A process that the codec runs in."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._pool = start(1)
        self._pid = 0
        self._allowed = math.inf
        self._start_s = _START_S

    def close(self) -> None:
        """End it, and what it started."""
        self._pool.shutdown(kill_workers=True)

    def ask(self, what: str, function: Callable[..., _Reply], *arguments: object) -> Any:
        """Have a function called there, and give its value.

        Raises
        ------
        _RefusedError
            Where the codec refuses what it is given, in the way that it may.
        ContractError
            Where it raised anything else, or took too long or too much memory, or died.
        """
        deadline = monotonic() + self._start_s + self._subject.time_limit_s
        try:
            future = self._pool.submit(function, self._subject, *arguments)
            while True:
                with suppress(TimeoutError):
                    reply: _Reply = future.result(_PATIENCE_S)
                    break
                if monotonic() > deadline:
                    limit = f"{self._start_s + self._subject.time_limit_s:g} s"
                    raise ContractError(f"{what} took longer than {limit} and was stopped")
                if _resident(self._pid) > self._allowed:
                    limit = f"{MEMORY_TOLERANCE >> 20} MiB"
                    raise ContractError(f"{what} took more than {limit} and was stopped")
        except BrokenProcessPool as error:
            codes = re.search(r"\{(.*)\}", str(error))
            how = codes[1] if codes else "it is not known how"
            raise ContractError(f"{what} killed the process ({how})") from None
        self._start_s = 0
        if reply.refused is not None:
            raise _RefusedError(reply.refused)
        if reply.wrong is not None:
            raise ContractError(f"{what}: {reply.wrong}")
        return reply.value

    def encode(self, image: Image, point: Point) -> bytes:
        """Encode an image that must not be refused."""
        try:
            stream, _ = self.ask(f"encoding{_at(point)}", _encode, image, point)
        except _RefusedError as error:
            raise ContractError(f"encoding{_at(point)} is refused: {error}") from error
        return cast(bytes, stream)

    def decode(self, stream: bytes, original: Image) -> Image:
        """Decode a stream that was not damaged."""
        try:
            decoded: Image = self.ask("decoding", _decode, stream)
        except _RefusedError as error:
            raise ContractError(f"a good stream is refused: {error}") from error
        if decoded.shape != original.shape:
            raise ContractError(
                f"decode returned an array of {decoded.shape}, not {original.shape}"
            )
        return decoded

    def warm_up(self) -> tuple[bytes, tuple[int, ...]]:
        """Make a stream and decode it, for its shape; from now on memory is watched."""
        image = _photo(64, 48)
        stream = self.encode(image, self._subject.chosen_points()[0])
        self.decode(stream, image)
        self._pid = self._pool.submit(os.getpid).result()
        self._allowed = _resident(self._pid) + MEMORY_TOLERANCE
        return stream, image.shape

    def watch_no_more(self) -> None:
        """Let it take any memory again."""
        self._allowed = math.inf


_kept: dict[Subject, _Process] = {}
"""The process of the last check, for the next one: a start may take longer than all the rest."""


@contextmanager
def _process(subject: Subject) -> Iterator[_Process]:
    """The process of the check before, if that was of this codec and found nothing wrong."""
    process = _kept.pop(subject, None) or _Process(subject)
    _release()
    try:
        yield process
    except BaseException:
        process.close()
        raise
    process.watch_no_more()
    _kept[subject] = process


def _release() -> None:
    while _kept:
        _kept.popitem()[1].close()


@dataclass(frozen=True)
class _Reply:
    """What a function found in the codec's process."""

    value: object = None
    refused: str | None = None
    wrong: str | None = None


def _encode(subject: Subject, image: Image, point: Point) -> _Reply:
    """Encode: the stream, and whether the image was written into."""
    given = image.copy()
    try:
        stream = subject.codec().encode(given, point)
    except BaseException as error:  # noqa: BLE001 - a codec may raise anything, SystemExit too
        return _failed(error, LicBenchError)
    if not isinstance(stream, bytes):
        return _Reply(wrong=f"encode returned {type(stream).__name__}, not bytes")
    return _Reply((bytes(stream), not np.array_equal(given, image)))


def _decode(subject: Subject, stream: bytes) -> _Reply:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, to no end
            decoded = subject.codec().decode(stream)
    except BaseException as error:  # noqa: BLE001 - as above
        return _failed(error, BitstreamError)
    if not isinstance(decoded, np.ndarray):
        return _Reply(wrong=f"decode returned {type(decoded).__name__}, not a NumPy array")
    if decoded.dtype != np.uint8 or decoded.ndim != 3 or decoded.shape[2] != 3:
        return _Reply(wrong=f"decode returned {decoded.dtype} of {decoded.shape}, not H x W x 3")
    return _Reply(np.asarray(decoded))


def _failed(error: BaseException, allowed: type[LicBenchError]) -> _Reply:
    text = " ".join(str(error).split())
    if isinstance(error, allowed):
        return _Reply(refused=text)
    return _Reply(wrong=f"{type(error).__name__}: {text} (only {allowed.__name__} is allowed)")


@lru_cache(maxsize=1)
def _registry(plugins: tuple[Path, ...]) -> Registry:
    return Registry(plugins)


@cache
def _whole_photo() -> Image:
    return read_image(load_dataset("sample").images[0].path)


def _photo(width: int, height: int) -> Image:
    """A part of a photograph: a face."""
    return _whole_photo()[40 : 40 + height, 130 : 130 + width].copy()


def _ends(subject: Subject) -> Sequence[Point]:
    """The first and the last operating point."""
    points = subject.chosen_points()
    return list(dict.fromkeys((points[0], points[-1])))


def _at(point: Point) -> str:
    return "" if point is None else f" at {point_text(point)}"


def _fall(values: Sequence[float], allowed: Sequence[float]) -> tuple[int, int] | None:
    """Where values fall by more than is allowed, or do not rise in all."""
    for i, (a, b) in enumerate(pairwise(values)):
        if b < a - allowed[i]:
            return i, i + 1
    return None if values[-1] > values[0] else (0, len(values) - 1)


def _told(
    what: str, unit: str, points: Sequence[Point], values: Sequence[float], fall: tuple[int, int]
) -> str:
    a, b = fall
    return (
        f"{what} does not rise from {point_text(points[a])} to {point_text(points[b])}: "
        f"{values[a]:.6g} and {values[b]:.6g} {unit}"
    )


def _db(similarity: float) -> float:
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf


def _resident(pid: int) -> float:
    """Memory of a process and of those that it started, in bytes; 0 where there is no /proc."""
    process = Path("/proc", str(pid))
    try:
        pages = int((process / "statm").read_text().split()[1])
        children = " ".join(path.read_text() for path in process.glob("task/*/children")).split()
    except OSError:  # it has ended
        return 0
    return pages * mmap.PAGESIZE + sum(_resident(int(child)) for child in children)
