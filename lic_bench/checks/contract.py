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

import atexit
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.errors import SpecError
from lic_bench.execution.faults import FaultError, RaisedError, RefusedError
from lic_bench.execution.requests import Decode, Encode, Encoded, codec_of
from lic_bench.execution.runner import Limits, Request, Runner, Value
from lic_bench.images.dataset import load_dataset
from lic_bench.images.image import Image, read_image
from lic_bench.metrics.builtin import image_metrics
from lic_bench.plugins.identity import changes, identity

CHECKED_SIZES = ((1, 1), (1, 7), (7, 1), (17, 31), (64, 64), (257, 129))
"""Width and height of the images whose size a codec must keep, or refuse."""

RATE_TOLERANCE = 0.02
"""By what share the rate may fall from one operating point to the next."""
QUALITY_TOLERANCE_DB = 0.1
"""By how much the quality may fall from one operating point to the next."""
RESIZED_TOLERANCE = 1 / 8
"""What share of streams with a flipped bit may decode to another size: formats keep theirs bare."""
MEMORY_TOLERANCE_GB = 1.0
"""How much memory a damaged stream may cost, in 1e9 bytes."""

_TRUNCATED = 24
_FLIPPED = 64
_HEAD = 64
"""Half of the flipped bits are within so many bytes of the beginning."""
_START_S = 120
"""For a process to start, and to load libraries and weights."""


class ContractError(Exception):
    """A codec does not do what every codec must; the text says what."""


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
        return codec_of(self.spec, self.plugins)

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
        for width, height in CHECKED_SIZES:
            image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
            for point in _ends(subject):
                try:
                    stream = process.try_to_encode(
                        f"encoding {width}x{height}", image, point
                    ).stream
                except RefusedError as refusal:
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
            if process.encoded(image, point).altered:
                raise ContractError("the image has other samples after it was encoded")
    return ""


def is_deterministic(subject: Subject) -> str:
    """The same image gives the same bytes, in another process too.

    The codec has the same identity there: a run refuses one that has not.
    """
    image = _photo(128, 112)
    with _process(subject) as first, closing(_Process(subject)) as second:
        if (one := first.identity()) != (other := second.identity()):
            raise ContractError(f"two processes tell of different versions: {changes(one, other)}")
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
        raise ContractError(_not_rising("the rate", "bytes", points, rates, fall))
    values = [image_metrics(image, picture) for picture in decoded]
    psnr = [float(value["psnr_rgb_db"] or 0) for value in values]
    ms_ssim = [_db(float(value["ms_ssim_rgb"] or 0)) for value in values]
    allowed = [QUALITY_TOLERANCE_DB] * len(points)
    fall = _fall(psnr, allowed)
    if fall is not None and _fall(ms_ssim, allowed) is not None:
        raise ContractError(_not_rising("the PSNR", "dB", points, psnr, fall))
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
    note = f"{rates[0]} bytes at {low}, {rates[1]} at {high}"
    if rates[0] >= rates[1]:
        raise ContractError(f"the rate does not rise along the range: {note}")
    return note


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
            with suppress(RefusedError):
                process.try_to_decode(f"decoding {what}", stream)
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
                decoded = process.try_to_decode(f"decoding {what}", damaged)
            except RefusedError:
                refused += 1
                continue
            if decoded.shape != shape:
                others += 1
                last = f"{what} decoded to {decoded.shape}, not {shape}"
    if others > resized * len(streams):
        raise ContractError(f"{others} of {len(streams)} decoded to another size; {last}")
    note = f"{len(streams)} streams, {refused} refused"
    return f"{note}, {others} decoded to another size" if others else note


@dataclass(frozen=True)
class _Identify(Request[str]):
    """Tell what decides on the codec's results."""

    subject: Subject

    def execute(self) -> str:
        return identity(self.subject.codec())


class _Process:
    """A process that the codec runs in."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._limits = Limits(subject.time_limit_s)
        self._runner = Runner(replace(self._limits, timeout_s=subject.time_limit_s + _START_S))

    def close(self) -> None:
        """End it, and what it started."""
        self._runner.close()

    def try_to_encode(self, what: str, image: Image, point: Point) -> Encoded:
        """Encode an image that may be refused; see `_ask`."""
        return self._ask(what, Encode(self._subject.spec, self._subject.plugins, image, point))

    def try_to_decode(self, what: str, stream: bytes) -> Image:
        """Decode a stream that may be refused; see `_ask`."""
        return self._ask(what, Decode(self._subject.spec, self._subject.plugins, stream))

    def identity(self) -> str:
        """What decides on the codec's results, as this process has it."""
        try:
            return self._ask("its versions", _Identify(self._subject))
        except RefusedError as error:
            raise ContractError(f"its versions are not to be had: {error}") from error

    def _ask(self, what: str, request: Request[Value]) -> Value:
        """What the codec gives.

        Raises
        ------
        RefusedError
            Where it refuses what it is given, in the way that it may.
        ContractError
            Where it raised anything else, or took too long or too much memory, or died.
        """
        try:
            value = self._runner.ask(request)
        except RefusedError:
            raise
        except RaisedError as fault:
            allowed = f"only {request.refusal.__name__} is allowed"
            notes = "; ".join(filter(None, [allowed, fault.place]))
            raise ContractError(f"{what}: {fault} ({notes})") from None
        except FaultError as fault:
            raise ContractError(f"{what}: {fault}") from None
        finally:
            self._runner.limits = self._limits  # the first one loads libraries and weights
        return value

    def encode(self, image: Image, point: Point) -> bytes:
        """Encode an image that must not be refused."""
        return self.encoded(image, point).stream

    def encoded(self, image: Image, point: Point) -> Encoded:
        """The same, with whether the image was written into."""
        try:
            return self.try_to_encode(f"encoding{_at(point)}", image, point)
        except RefusedError as error:
            raise ContractError(f"encoding{_at(point)} is refused: {error}") from error

    def decode(self, stream: bytes, original: Image) -> Image:
        """Decode a stream that was not damaged."""
        try:
            decoded = self.try_to_decode("decoding", stream)
        except RefusedError as error:
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
        if present := self._runner.resident_gb():  # unknown but on Linux
            self._limits = replace(self._limits, memory_gb=present + MEMORY_TOLERANCE_GB)
            self._runner.limits = self._limits
        return stream, image.shape

    def watch_no_more(self) -> None:
        """Let it take any memory again."""
        self._limits = self._runner.limits = replace(self._limits, memory_gb=0)


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


@atexit.register  # multiprocessing would wait for it
def _release() -> None:
    while _kept:
        _kept.popitem()[1].close()


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


def _not_rising(
    what: str, unit: str, points: Sequence[Point], values: Sequence[float], fall: tuple[int, int]
) -> str:
    a, b = fall
    return (
        f"{what} does not rise from {point_text(points[a])} to {point_text(points[b])}: "
        f"{values[a]:.6g} and {values[b]:.6g} {unit}"
    )


def _db(similarity: float) -> float:
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
