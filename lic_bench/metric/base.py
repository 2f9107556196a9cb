"""What a metric is: it says in figures how far a distorted image is from its reference.

A metric of your own is a subclass of `Metric` with a name and one method. Its *options* are the
arguments of its constructor, and a *spec* names it together with them, as it does a codec:
``my-metric:device=cuda``.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, ClassVar, Literal

from lic_bench.errors import SpecError
from lic_bench.plugins.base import Plugin

if TYPE_CHECKING:
    from lic_bench.images.image import Image

Better = Literal["higher", "lower"]
"""Which values of a figure are of the better image."""

Value = float | None
"""Of a figure; missing where it is not defined for an image, as for one that is too small."""

Compare = Callable[["Image"], "Value | Mapping[str, Value]"]
"""Of a distorted image, uint8, H x W x 3: the figure, or each figure by its name."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")
_TAKEN = frozenset(
    (
        *("dataset", "image", "width", "height", "codec", "point", "point_index", "bytes", "bpp"),
        *("bpp_pooled", "encode_s", "decode_s", "error", "metric_errors", "dataset_images"),
        *("image_sha256", "identity", "run", "measured", "matches", "searched", "imported"),
        *("images", "failed", "complete", "source", "kind", "position", "quality", "metrics"),
    )
)
"""Names of what else stands in tables."""


@dataclass(frozen=True)
class Score:
    """A figure that a metric gives of a pair of images."""

    name: str
    """As it is typed: ``psnr_rgb``."""
    label: str
    """As people read it: ``PSNR (RGB)``."""
    unit: str = ""
    """Such as ``dB``; none where it has none."""
    better: Better = "higher"

    def __post_init__(self) -> None:
        """Refuse a name that cannot be that of a column."""
        names = {self.name, self.column}
        if not all(map(_NAME.fullmatch, names)) or names & _TAKEN:
            raise SpecError(
                f"{self.column[:60]!r} cannot be the name of a figure: it needs one of small "
                "letters, digits and underscores, unit included, that no other column has"
            )
        if not (self.label.isprintable() and self.unit.isprintable()):
            raise SpecError(f"the label and the unit of {self.name} must be printable")
        if self.better not in ("higher", "lower"):
            raise SpecError(f"{self.name}: better is higher or lower, not {self.better!r}")

    @property
    def column(self) -> str:
        """Its column in tables, which carries the unit: ``psnr_rgb_db``."""
        return "_".join(filter(None, (self.name, re.sub(r"\W+", "_", self.unit.lower()))))


class Metric(Plugin):
    """A metric of image quality, on 8-bit RGB: what a user gets.

    Most give one figure, which has the metric's name, with ``_`` for ``-`` and ``.``.
    """

    kind = "metric"
    ours = ("lic_bench.metrics",)

    label: ClassVar[str] = ""
    """As people read it: ``SSIMULACRA 2``; by default the name."""

    unit: ClassVar[str] = ""
    """Such as ``dB``."""

    better: ClassVar[Better] = "higher"

    scores: ClassVar[tuple[Score, ...]] = ()
    """Its figures, where it gives several; then label, unit and better above do not count."""

    least_side: ClassVar[int] = 1
    """The least side of an image that it is defined for; of smaller ones, figures are missing."""

    identical: ClassVar[float | None] = None
    """The value of the (first) figure where the images are equal, if that is always the same."""

    symmetric: ClassVar[bool] = False
    """Whether the two images can be exchanged."""

    on_gpu: ClassVar[bool] = False
    """Whether it can run on a GPU; `device` then says where it is to run."""

    def make_ready(self) -> None:
        """Fetch what it needs, such as published weights: called once, before any work.

        Raises
        ------
        UnavailableError
            Where that is not to be had; the text says what to do.
        """

    @abstractmethod
    def prepare(self, reference: Image) -> Compare:
        """Take a reference image, and give what compares a distorted one with it.

        What depends on the reference alone is computed here, once for all the images that are
        compared with it.

        Parameters
        ----------
        reference
            uint8, H x W x 3, sRGB; no side is less than `least_side`. It must not be written to.

        Returns
        -------
        A function of a distorted image of that shape. Its value is a number, infinite at most
        upwards, or ``None`` where it is not defined; or one for each name in `scores`.
        """


def scores_of(metric: Metric | type[Metric]) -> tuple[Score, ...]:
    """The figures that a metric gives.

    Raises
    ------
    SpecError
        Where one has a name that cannot be.
    """
    if metric.scores:
        return metric.scores
    name = re.sub(r"[-.+]", "_", metric.name.lower())
    return (Score(name, metric.label or metric.name, metric.unit, metric.better),)


class Comparison:
    """A reference image as a metric has taken it; figures of distorted images by column.

    Raises
    ------
    TypeError, ValueError
        From `compare`, where the metric gives what it must not give.
    """

    def __init__(self, metric: Metric, reference: Image) -> None:
        self._scores, self._shape = scores_of(metric), reference.shape
        small = min(reference.shape[:2]) < metric.least_side
        self._compare = None if small else metric.prepare(reference)

    def compare(self, distorted: Image) -> dict[str, Value]:
        """The figures of a distorted image."""
        if distorted.shape != self._shape:
            raise ValueError(f"distorted has shape {distorted.shape}, the reference {self._shape}")
        if self._compare is None:
            return {score.column: None for score in self._scores}
        found = self._compare(distorted)
        wanted = ", ".join(score.name for score in self._scores)
        if not isinstance(found, Mapping):
            if len(self._scores) > 1:
                raise TypeError(f"it gave {type(found).__name__}, not a value by name: {wanted}")
            found = {self._scores[0].name: found}
        if set(found) != {score.name for score in self._scores}:
            raise ValueError(f"it gave {', '.join(map(str, found))}, not {wanted}")
        return {score.column: _checked(found[score.name]) for score in self._scores}


def _checked(value: object) -> Value:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"it gave {type(value).__name__}, not a number")
    number = float(value)
    if math.isnan(number) or number == -math.inf or 1e12 < abs(number) < math.inf:
        raise ValueError(f"it gave {number:g}, which is no figure of an image")
    return number
