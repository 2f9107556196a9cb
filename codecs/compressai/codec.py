"""CompressAI's models, as the bench sees them. torch is imported when an image is coded."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from lic_bench import (
    BitstreamError,
    Codec,
    Point,
    SpecError,
    UnavailableError,
    find_checkpoints,
)
from lic_bench.codecs.compressai.bitstream import Stream, check_size, pack, unpack
from lic_bench.codecs.compressai.weights import published
from lic_bench.plugins.weights import Weights

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.compressai.inference import Model

Architecture = Literal[
    "bmshj2018-factorized",
    "bmshj2018-factorized-relu",
    "bmshj2018-hyperprior",
    "bmshj2018-hyperprior-vbr",
    "mbt2018-mean",
    "mbt2018-mean-vbr",
    "mbt2018",
    "mbt2018-vbr",
    "cheng2020-anchor",
    "cheng2020-attn",
]
_VARIABLE_RATE = 8
_BATCH = 8
_SUFFIXES = (".pth.tar", ".pth", ".pt")


class CompressAI(Codec):
    """A model of CompressAI's zoo, with the published weights or a user's own.

    Images are padded with zeros on all sides to multiples of 64, as in CompressAI's evaluation.

    Models with a hyperprior, and the autoregressive ones still more, compute in floating point what
    the entropy decoder is told: their streams are only sure to decode on the kind of machine, and
    with the versions of the libraries, that made them. bmshj2018-factorized has no such trouble.

    Parameters
    ----------
    model
        The architecture. Those that end in -vbr are of variable rate: one network, whose operating
        points are the eight quantisation steps of CompressAI's evaluation, coarsest first. The
        others have a network for each of 8 qualities, or 6 (cheng2020). mbt2018 and cheng2020 code
        sample after sample, which takes ten times as long and more.
    metric
        What the published weights were trained for.
    checkpoint
        Your own weights: a file, or one for each operating point, as a pattern such as
        ``runs/lambda-{point}.pth.tar``, a folder or a list; see `lic_bench.codec.checkpoints`. Each
        holds a network's state_dict, or what CompressAI's training saves. Tables for the entropy
        coder that it holds are used as they are; where it has none they are made.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU.
    """

    name = "compressai"
    points: Sequence[Point] = (1, 2, 3, 4, 5, 6, 7, 8)
    point_unit = "quality"
    requires = dict.fromkeys(("torch", "compressai"), "pip install 'lic-bench[compressai]'")

    def __init__(
        self,
        model: Architecture = "bmshj2018-factorized",
        metric: Literal["mse", "ms-ssim"] = "mse",
        checkpoint: str = "",
        device: str = "cpu",
    ) -> None:
        self.device = device
        self.batch_size = 1 if device == "cpu" else _BATCH
        self._architecture = model
        self._strings = 1 if model.startswith("bmshj2018-factorized") else 2
        self._checkpoint = bool(checkpoint)
        if checkpoint:
            files = find_checkpoints(checkpoint, _SUFFIXES)
            self._weights: tuple[Weights, ...] = tuple(map(Weights, files.values()))
            self.points = tuple(files)
        else:
            self._weights = published(model, metric)
            self.points = tuple(range(1, len(self._weights) + 1))
        if not self._weights:
            raise SpecError(
                f"{self.name}: there are no published weights of {model} for {metric}; "
                "give your own: checkpoint=FILE"
            )
        if model.endswith("-vbr"):
            if len(self._weights) > 1:
                raise SpecError(f"{self.name}: {model} has one checkpoint for all of its points")
            self.points = tuple(range(1, _VARIABLE_RATE + 1))

    def versions(self) -> Mapping[str, str]:
        return {**_versions(), "weights": " ".join(one.digest() for one in self._weights)}

    def check_point(self, point: Point) -> None:
        """Refuse a point out of range, fetch its weights, and see whether a user's own load.

        Raises
        ------
        SpecError
            With what is in range.
        UnavailableError
            Where weights are neither at hand nor to be had, or are none.
        """
        index = self._index(point)
        try:
            weights = self._fetch(index)
        except UnavailableError as error:
            raise UnavailableError(f"{self.name}: {error}\n{self._missing()}") from error
        if not weights.is_published():
            warnings.warn(
                f"{self.name}: {weights.path} is not what {weights.url} holds; it is used, and "
                f"what is measured stands under its own hash, {weights.digest()}",
                stacklevel=2,
            )
        if self._checkpoint:
            self._model(index)

    def encode(self, image: Image, point: Point) -> bytes:
        return self.encode_batch([image], point)[0]

    def decode(self, stream: bytes) -> Image:
        return self.decode_batch([stream])[0]

    def encode_batch(self, images: Sequence[Image], point: Point) -> list[bytes]:
        index = self._index(point)
        height, width, _ = images[0].shape
        check_size(height, width)
        weights = bytes.fromhex(self._fetch(index).digest())
        return [
            pack(Stream(weights, width, height, index, strings))
            for strings in self._model(index).compress(images, index)
        ]

    def decode_batch(self, streams: Sequence[bytes]) -> list[Image]:
        """Decode bitstreams, also of different sizes and operating points."""
        found = [self._unpack(stream) for stream in streams]
        alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for position, one in enumerate(found):
            alike[one.point, one.height, one.width].append(position)
        images: dict[int, Image] = {}
        for (point, height, width), positions in alike.items():
            strings = [found[position].strings for position in positions]
            made = self._model(point).decompress(strings, height, width, point)
            images.update(zip(positions, made, strict=True))
        return [images[position] for position in range(len(streams))]

    def _unpack(self, data: bytes) -> Stream:
        stream = unpack(data, self._strings)
        if stream.point >= len(self.points):
            raise BitstreamError(f"the header makes no sense: there is no point {stream.point}")
        digest = self._fetch(stream.point).digest()
        if stream.weights.hex() != digest:
            raise BitstreamError(
                f"the stream was made with other weights: {stream.weights.hex()}, not {digest}"
            )
        return stream

    def _index(self, point: Point) -> int:
        if point not in self.points or isinstance(point, bool):
            what = "checkpoint" if self._checkpoint else self.point_unit
            known = ", ".join(map(str, self.points))
            raise SpecError(f"{self.name}: {point!r} is no {what}: {known}")
        return self.points.index(point)

    def _fetch(self, index: int) -> Weights:
        weights = self._weights[index if len(self._weights) > 1 else 0]
        weights.fetch()
        return weights

    def _missing(self) -> str:
        """Which weights are at hand, and how to get all others."""
        hand = [str(p) for p, one in zip(self.points, self._weights, strict=False) if one.at_hand()]
        missing = [one for one in self._weights if not one.at_hand()]
        names = ",".join(one.path.name for one in missing)
        urls = f"{missing[0].url.rpartition('/')[0]}/{{{names}}}"
        known = f"At hand: --points {','.join(hand)}. " if hand else ""
        return f"{known}All that are missing: curl --remote-name-all '{urls}'"

    def _model(self, index: int) -> Model:
        from lic_bench.codecs.compressai.inference import load_model

        weights = self._fetch(index)
        return load_model(weights.path, weights.digest(), self._architecture, self.device)


@cache
def _versions() -> dict[str, str]:
    return {"compressai": version("compressai"), "torch": version("torch")}
