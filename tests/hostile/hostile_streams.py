"""Hostile bitstreams: made from good ones, by what is known of each format.

Blind damage dies at a checksum or in the first header. So the fields of our own formats are filled
with hostile values and the checksum is made right again, and the streams of others are damaged
where their structure is: behind their markers, or by leaving out and repeating whole parts.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lic_bench import Image, load_dataset, read_image

GIB = 1 << 30
MAX_PIXELS = 1 << 27
NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 1000, 4096, 11585, 32767, 32768, 65535)
"""Sides and counts at which decoders go wrong."""


@dataclass(frozen=True)
class Target:
    """A decoder that is given hostile streams."""

    name: str
    spec: str
    plugins: tuple[Path, ...] = ()
    forge: Callable[[random.Random, bytes], bytes] | None = None
    """Makes a stream whose checks pass and whose fields are hostile."""
    marks: re.Pattern[bytes] | None = None
    """Where the parts of a stream begin."""
    claim: Callable[[bytes], int] = lambda stream: MAX_PIXELS
    """How many pixels a stream claims: memory and time are bounded by that."""
    bytes_per_pixel: int = 64
    seconds: float = 20
    seconds_per_megapixel: float = 2

    def bound(self, stream: bytes) -> int:
        """The memory that decoding may take, in bytes."""
        return GIB + self.bytes_per_pixel * min(self.claim(stream), MAX_PIXELS)

    def time_limit_s(self, stream: bytes) -> float:
        """The time that decoding may take."""
        return self.seconds + self.seconds_per_megapixel * min(self.claim(stream), MAX_PIXELS) / 1e6

    def mutated(self, rng: random.Random, seeds: list[bytes]) -> bytes:
        """Make a hostile stream."""
        seed = rng.choice(seeds)
        if self.forge is not None and rng.random() < 0.7:
            return self.forge(rng, seed)
        if self.marks is not None and rng.random() < 0.7:
            return _reordered(rng, seed, self.marks)
        return damaged(rng, seed)


def images() -> list[Image]:
    """A few small images of which good streams are made: a photograph, noise, one grey pixel."""
    photo = read_image(load_dataset("sample").images[0].path)
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return [photo[40:104, 130:210].copy(), noise, np.full((1, 1, 3), 128, np.uint8)]


def damaged(rng: random.Random, stream: bytes) -> bytes:
    """Damage a stream blindly, in one to four places."""
    data = bytearray(stream)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(65)
        at = min(at, len(data))
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + rng.randint(1, 64)]
            case 3:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 64, 5000)))
            case 4:
                data[at:at] = data[at : at + 256] * rng.choice((1, 2, 100))
            case 5:
                data[at : at + 4] = rng.choice((b"\0", b"\xff", b"\x7f")) * 4
            case _:
                number = struct.pack(rng.choice("<>") + "H", rng.choice(NUMBERS))
                data[at : at + 2] = number
    return bytes(data)


def _reordered(rng: random.Random, stream: bytes, marks: re.Pattern[bytes]) -> bytes:
    """Leave out, repeat and exchange whole parts, or write hostile numbers behind their marks."""
    edges = [0, *(found.start() for found in marks.finditer(stream)), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(edges)]
    for _ in range(rng.randint(1, 3)):
        i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(6):
            case 0:
                parts[i] = b""
            case 1:
                parts[i] *= rng.choice((2, 3, 300))
            case 2:
                parts[i], parts[j] = parts[j], parts[i]
            case 3:
                parts[i] = damaged(rng, parts[i])
            case _:
                at = rng.randrange(2, 24)
                kind = rng.choice(("B", ">H", ">I", "<I"))
                number = rng.choice(NUMBERS) & (0xFF if kind == "B" else 0xFFFF)
                packed = struct.pack(kind, number)
                parts[i] = parts[i][:at] + packed + parts[i][at + len(packed) :]
    return b"".join(parts)


def content_weighted(
    stream: bytes,
    *,
    version: int | None = None,
    width: int | None = None,
    height: int | None = None,
    point: int | None = None,
    payload: bytes | None = None,
) -> bytes:
    """A stream of the codec content-weighted with other fields, and a checksum that is right."""
    found = list(struct.unpack_from("<4sB4sHHB", stream))
    for place, value in ((1, version), (3, width), (4, height), (5, point)):
        if value is not None:
            found[place] = value
    head = struct.pack("<4sB4sHHB", *found)
    payload = stream[18:] if payload is None else payload
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


def compressai(stream: bytes, numbers: list[int], strings: bytes, weights: bytes = b"") -> bytes:
    """A stream of the codec compressai with other fields, and a checksum that is right."""
    rest = (weights or stream[8:12]) + b"".join(map(varint, numbers)) + strings
    return stream[:4] + struct.pack("<I", zlib.crc32(rest)) + rest


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _side(rng: random.Random) -> int:
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.randint(1, 300)


def _payload(rng: random.Random, payload: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            return b""
        case 1:
            return payload[: rng.randrange(len(payload) + 1) & ~3]
        case 2:
            return rng.randbytes(4 * rng.randrange(200))
        case 3:
            return bytes([rng.choice((0, 1, 127, 128, 255))]) * (4 * rng.randrange(200))
        case 4:
            return payload
        case _:
            return damaged(rng, payload)


def _forged_content_weighted(rng: random.Random, stream: bytes) -> bytes:
    fields: dict[str, int] = {}
    if rng.random() < 0.7:
        fields |= {"width": _side(rng), "height": _side(rng)}
    if rng.random() < 0.3:
        fields["point"] = rng.choice((0, 1, 7, 8, 255))
    if rng.random() < 0.05:
        fields["version"] = rng.choice((0, 2, 255))
    return content_weighted(stream, payload=_payload(rng, stream[18:]), **fields)


def _numbers(stream: bytes, count: int) -> tuple[list[int], bytes]:
    """The numbers behind the weights of a stream of compressai, and what follows them."""
    numbers, position = [], 12
    for _ in range(count):
        value = shift = 0
        while True:
            byte = stream[position]
            value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
            if byte < 128:
                break
        numbers.append(value)
    return numbers, stream[position:]


def _forged_compressai(strings: int) -> Callable[[random.Random, bytes], bytes]:
    def forge(rng: random.Random, stream: bytes) -> bytes:
        numbers, rest = _numbers(stream, 2 + strings)
        if rng.random() < 0.7:
            numbers[:2] = _side(rng), _side(rng)
        if rng.random() < 0.1:
            numbers[2] = rng.choice((1, 7, 255, 1 << 34))
        payload = _payload(rng, rest)
        if strings == 2 and rng.random() < 0.5:
            numbers[3] = rng.choice((0, 1, len(payload), len(payload) + 1, 1 << 34))
        return compressai(stream, numbers, payload)

    return forge


def _forged_sizes(form: str) -> Callable[[random.Random, bytes], bytes]:
    """For headers that are width and height and nothing else."""

    def forge(rng: random.Random, stream: bytes) -> bytes:
        width, height = _side(rng), _side(rng)
        size = struct.calcsize(form)
        payload = bytes(3 * width * height) if width * height < 10_000 else stream[size:]
        if rng.random() < 0.5:
            payload = damaged(rng, payload)
        return struct.pack(form, width, height) + payload

    return forge


def _claimed(pattern: bytes, form: str) -> Callable[[bytes], int]:
    """The largest product of the two numbers behind a pattern."""
    size = struct.calcsize(form)

    def claim(stream: bytes) -> int:
        found = (m.end() for m in re.finditer(pattern, stream, re.DOTALL))
        return max(
            (
                a * b
                for at in found
                if at + size <= len(stream)
                for a, b in [struct.unpack_from(form, stream, at)]
            ),
            default=0,
        )

    return claim


def _claimed_by_compressai(stream: bytes) -> int:
    try:
        (width, height), _ = _numbers(stream, 2)
    except IndexError:
        return 0
    # It codes squares of 64 pixels.
    return (width + 63) * (height + 63)


def _claimed_by_jpeg_xl(stream: bytes) -> int:
    from lic_bench import BitstreamError
    from lic_bench.codecs import jpegxl

    try:
        height, width = jpegxl._size(stream)
    except BitstreamError:
        return 0
    return height * width


_COPY = """
name = "copy"
encode = "cp --suffix={point} {input} {output}"
decode = "cp --suffix={point} {input} {output}"
points = [0.5, 2, 40]
reads = "rgb24"
writes = "rgb24"
timeout_s = 10
"""
_TINY = {  # architecture: how many strings a stream holds
    "bmshj2018-factorized": 1,
    "bmshj2018-hyperprior": 2,
    "mbt2018-mean": 2,
    "mbt2018": 2,
    "cheng2020-anchor": 2,
}


def programs(folder: Path) -> Target:
    """A codec of two programs, whose TOML file is put into a folder."""
    copy = folder / "copy.toml"
    copy.write_text(_COPY)
    return Target(
        "programs", "copy", (copy,), forge=_forged_sizes("<HH"), claim=_claimed(rb"^", "<HH")
    )


def targets(folder: Path, names: Collection[str] = ()) -> list[Target]:
    """Every decoder of the house, or those named; their weights and files are put into a folder."""
    made = _targets(folder, names)
    return [one for one in made if one.name in names or not names]


def _targets(folder: Path, names: Collection[str]) -> list[Target]:
    boxes = re.compile(
        rb"(?=....(?:ftyp|meta|hdlr|pitm|iloc|iinf|iprp|ipco|ispe|hvcC|mdat))", re.DOTALL
    )
    units = re.compile(rb"(?=\x00\x00\x01)")
    return [
        Target("none", "none", forge=_forged_sizes("<II"), claim=_claimed(rb"^", "<II")),
        Target(
            "content-weighted",
            "content-weighted",
            forge=_forged_content_weighted,
            claim=_claimed(rb"^.{9}", "<HH"),
            bytes_per_pixel=150,
            seconds_per_megapixel=60,
        ),
        *(
            Target(
                spec.replace(":coder=", " "),
                spec,
                forge=_forged_content_weighted,  # its container is the same
                claim=_claimed(rb"^.{9}", "<HH"),
                bytes_per_pixel=300 if spec == "recurrent" else 150,  # it keeps a state
                seconds_per_megapixel=60,
            )
            for spec in (
                *("cae-pca", "compressive-autoencoder", "entropy-autoencoder:coder=histogram"),
                *("entropy-autoencoder:coder=factorised", "entropy-autoencoder:coder=pair"),
                *("modulated-autoencoder", "nctu", "recurrent"),
            )
        ),
        *_networks(folder, names),
        programs(folder),
        Target(
            "jpeg",
            "jpeg",
            marks=re.compile(rb"(?=\xff[\xc0-\xfe])"),
            claim=_claimed(rb"\xff[\xc0-\xcf].{3}", ">HH"),
        ),
        Target(
            "jpeg2000",
            "jpeg2000",
            marks=re.compile(rb"(?=\xff[\x4f-\x64\x90-\x93\xd9])"),
            claim=_claimed(rb"^.{8}", ">II"),
        ),
        Target(
            "webp",
            "webp",
            marks=re.compile(rb"(?=RIFF|WEBP|VP8 |\x9d\x01\x2a)"),
            claim=_claimed(rb"^.{26}", "<HH"),
        ),
        Target("avif", "avif", marks=boxes, claim=_claimed(rb"ispe.{4}", ">II")),
        Target("heif", "heif", marks=boxes, claim=_claimed(rb"ispe.{4}", ">II")),
        Target("hevc", "hevc:preset=ultrafast", marks=units),
        Target("jpegxl", "jpegxl:effort=3", claim=_claimed_by_jpeg_xl),
        Target("vvc", "vvc:preset=faster", marks=units),
    ]


def _networks(folder: Path, names: Collection[str]) -> list[Target]:
    """CompressAI's architectures, as networks of few channels with random weights."""
    from importlib.util import find_spec

    chosen = [one for one in _TINY if f"compressai {one}" in names or not names]
    if not chosen:
        return []
    if find_spec("compressai") is None or find_spec("torch") is None:
        return []
    import torch

    from lic_bench.codecs.compressai.inference import import_compressai

    models = import_compressai().registry.MODELS
    made = []
    for architecture in chosen:
        torch.manual_seed(0)
        cls = models[architecture]
        net = cls(8) if architecture.startswith("cheng") else cls(8, 12)
        path = folder / f"{architecture}.pth"
        torch.save(net.state_dict(), path)
        made.append(
            Target(
                f"compressai {architecture}",
                f"compressai:model={architecture},checkpoint={path}",
                forge=_forged_compressai(_TINY[architecture]),
                claim=_claimed_by_compressai,
                bytes_per_pixel=400,
                seconds_per_megapixel=60,
            )
        )
    return made
