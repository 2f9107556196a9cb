"""Photographs to train on: decoded once, kept as uint8, cropped at random.

Batch `t` is a function of the seed and of `t` alone. That makes a run reproducible, and resuming it
needs no state but the number of the next step.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn.functional import interpolate

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}


@dataclass
class Photographs:
    """Photographs in memory, on the CPU or a GPU.

    Parameters
    ----------
    images
        uint8 tensors, H x W x 3, sRGB.
    names
        What each is called.
    skipped
        Files that could not be used, each with the reason.
    """

    images: list[Tensor]
    names: list[str]
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        areas = np.array([image.shape[0] * image.shape[1] for image in self.images], np.float64)
        self._up_to = np.cumsum(areas / areas.sum()) if len(areas) else areas
        self._up_to /= self._up_to[-1:]

    @property
    def largest_crop(self) -> int:
        """The side of the largest square that fits into a photograph."""
        return max((min(image.shape[:2]) for image in self.images), default=0)

    def split(self, held_out: int, seed: int) -> tuple[Photographs, Photographs]:
        """Divide into photographs to train on and `held_out` others that are never trained on."""
        order = np.random.default_rng((seed, 1)).permutation(len(self.images)).tolist()
        kept, apart = sorted(order[held_out:]), sorted(order[:held_out])
        return self._subset(kept), self._subset(apart)

    def _subset(self, indices: Sequence[int]) -> Photographs:
        return Photographs([self.images[i] for i in indices], [self.names[i] for i in indices])

    def to(self, device: torch.device) -> Photographs:
        """Move the pixels to another device."""
        return Photographs([image.to(device) for image in self.images], self.names, self.skipped)

    def batch(self, step: int, size: int, side: int, seed: int) -> Tensor:
        """Crop a batch at random: batch number `step` of the seed.

        Each crop is flipped and turned by quarters at random. One batch in two is taken larger by
        up to 1/0.6 and scaled down, which also lessens the traces of JPEG in the photographs. One
        in four is taken smaller, by up to a half, and enlarged: large photographs are as smooth.

        Returns
        -------
        float32 tensor, size x 3 x side x side, 8-bit steps from 0 to 255.

        Raises
        ------
        ValueError
            Where no photograph is large enough.
        """
        rng = np.random.default_rng((seed, 2, step))
        scale, kind = 1.0, rng.random()
        if kind < 0.5:
            scale = rng.uniform(0.6, 1.0)
        elif kind < 0.75:
            scale = rng.uniform(1.0, 2.0)
        taken = round(side / scale)
        crops, turns = [], []
        for index in self._draw(rng, size, side):
            image = self.images[index]
            span = min(taken, *image.shape[:2])
            top = int(rng.integers(image.shape[0] - span + 1))
            left = int(rng.integers(image.shape[1] - span + 1))
            crops.append(image[top : top + span, left : left + span])
            turns.append((int(rng.integers(4)), rng.random() < 0.5))
        if len({len(crop) for crop in crops}) == 1:
            return _scaled(_turned(torch.stack(crops), turns), side)
        single = zip(crops, turns, strict=True)
        return torch.cat([_scaled(_turned(crop[None], [turn]), side) for crop, turn in single])

    def _draw(self, rng: np.random.Generator, size: int, side: int) -> list[int]:
        if self.largest_crop < side:
            raise ValueError(f"no photograph has {side} pixels on its shorter side")
        drawn: list[int] = []
        while len(drawn) < size:
            # In proportion to its area; as `rng.choice` does it, without its checks each time.
            index = int(self._up_to.searchsorted(rng.random(), side="right"))
            if min(self.images[index].shape[:2]) >= side:
                drawn.append(index)
        return drawn


def _turned(crops: Tensor, turns: Sequence[tuple[int, bool]]) -> Tensor:
    """Turn each crop by its quarters, then flip it or not: B x S x S x 3 to B x 3 x S x S.

    All together, since each operation on a GPU costs the CPU its time: a turn is a transposition,
    a flip of the rows and one of the columns, or some of these.
    """
    choices = [(q % 2 == 1, q in (1, 2), (q in (2, 3)) != mirrored) for q, mirrored in turns]
    transposed, rows, columns = (
        torch.tensor(choices).T[:, :, None, None, None].to(crops.device, non_blocking=True)
    )
    x = crops.permute(0, 3, 1, 2).contiguous()
    x = torch.where(transposed, x.transpose(2, 3).contiguous(), x)
    x = torch.where(rows, x.flip(2), x)
    return torch.where(columns, x.flip(3), x)


def _scaled(batch: Tensor, side: int) -> Tensor:
    if batch.shape[-1] == side:
        return batch.to(torch.float32, memory_format=torch.contiguous_format)
    scaled = interpolate(batch.float(), (side, side), mode="bilinear", antialias=True)
    # The codec will be given 8-bit images.
    return scaled.round().clamp(0, 255)


def load(paths: Iterable[Path], limit: int | None = None) -> Photographs:
    """Decode every photograph of folders and tar files, in the order of their names.

    What cannot be decoded is skipped, and told in `Photographs.skipped`.

    Parameters
    ----------
    paths
        Folders (searched to any depth), tar files, or image files.
    limit
        Stop after so many.
    """
    found = Photographs([], [])
    for name, content in _contents(paths):
        if limit is not None and len(found.images) >= limit:
            break
        try:
            with PIL.Image.open(io.BytesIO(content)) as image:
                pixels = np.array(image.convert("RGB"))
        except Exception as error:  # noqa: BLE001 - Pillow raises nearly anything on damaged files
            found.skipped.append(f"{name}: {error}")
            continue
        found.images.append(torch.from_numpy(pixels))
        found.names.append(name)
    return Photographs(found.images, found.names, found.skipped)


def _contents(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            tars = [p for p in inside if p.suffix == ".tar"]
            yield from _contents([p for p in inside if p.suffix.lower() in _SUFFIXES])
            yield from _contents(tars)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                for member in sorted(tar.getmembers(), key=lambda member: member.name):
                    if member.isfile() and Path(member.name).suffix.lower() in _SUFFIXES:
                        file = tar.extractfile(member)
                        if file is not None:
                            yield f"{path.name}/{member.name}", file.read()
        else:
            yield path.name, path.read_bytes()
