"""What is remembered: measurements, what they are kept under, and what came from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from lic_bench.metric.base import Score

Kind = Literal["measured", "imported"]
"""Where the measurements of a codec come from: a run, or elsewhere."""


@dataclass(frozen=True)
class Key:
    """What decides on a measurement's result."""

    image_key: str
    identity: str
    point: str


class ScoreState(NamedTuple):
    """A figure of a metric in a certain state: what its values are kept under."""

    score: Score
    identity: str = ""
    """Of the metric; none where values come from elsewhere."""


@dataclass(frozen=True)
class Measurement:
    """What came out of one image, one codec and one operating point."""

    width: int | None = None
    """Of the image, in pixels; missing where it could not be read."""
    height: int | None = None
    stream: bytes | None = field(default=None, repr=False)
    """The bitstream; missing where encoding failed."""
    encode_s: float | None = None
    decode_s: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Value by column of a figure; ``None`` where it is not defined, as on a small image."""
    metric_errors: Mapping[str, str] = field(default_factory=dict)
    """Why there is no value, by column, in one line each."""
    error: str | None = None
    """Why the measurement failed, in one line."""
    traceback: str | None = field(default=None, repr=False)
    """Where the codec raised an error: the whole of Python's traceback."""


@dataclass(frozen=True)
class CheckedDecode:
    """What came of a bitstream that was decoded again, beside what it was measured as."""

    circumstances: str
    """Under which, in words."""
    differing: int | None = None
    """How many samples differ; missing where there is no picture to compare."""
    largest: int | None = None
    """The largest difference, in 8-bit steps."""
    error: str | None = None
    """Why there is no picture to compare."""

    @property
    def same(self) -> bool:
        """Whether it is the same picture, in each sample."""
        return self.differing == 0


@dataclass(frozen=True)
class Average:
    """A point of a curve that was imported: an average over a data set, without its images."""

    codec: str
    dataset: str
    point: str
    bpp: float
    metrics: Mapping[str, float | None]
    encode_s: float | None = None
    decode_s: float | None = None
