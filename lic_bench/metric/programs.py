"""Metrics that are a program, described by a TOML file and no Python at all.

The keys of a file are those of `Description`:

.. code-block:: toml

    name = "libjxl-butteraugli"
    compare = "butteraugli_main {reference} {distorted}"
    figure = '^([0-9.]+)$'    # the number in what it prints: the group of a regular expression
    better = "lower"

or, where the program prints several figures, a table for each in place of ``figure``:

.. code-block:: toml

    [figures.libjxl_butteraugli_3norm]
    figure = '3-norm: ([0-9.]+)'
    better = "lower"

``{reference}`` and ``{distorted}`` are absolute paths of images, ``{width}`` and ``{height}`` are
theirs in pixels, ``{folder}`` is where the TOML file lies. ``^`` and ``$`` stand for the ends of a
line, and the first place that fits counts. See `lic_bench.plugins.programs` for how programs are
called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lic_bench.errors import MetricError, SpecError
from lic_bench.metric.base import Better, Compare, Metric, Score, Value, scores_of
from lic_bench.plugins import programs
from lic_bench.plugins.programs import (
    OfPrograms,
    ProgramError,
    described,
    temporary_folder,
    words,
)
from lic_bench.plugins.toml import shortened

if TYPE_CHECKING:
    from lic_bench.images.image import Image

Format = Literal["png", "ppm", "bmp", "tiff", "rgb24"]
"""``rgb24`` is samples of 8 bits, R G B, row by row, and nothing else."""


Label = Annotated[str, msgspec.Meta(max_length=100)]
Unit = Annotated[str, msgspec.Meta(max_length=19)]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several figures that a program prints."""

    figure: str
    """A regular expression whose group is the number."""
    label: Label = ""
    unit: Unit = ""
    better: Better = "higher"


class Description(programs.Description, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TOML file says of a metric."""

    compare: str | list[str]
    figure: str = ""
    """A regular expression whose group is the number, in what the program prints."""
    label: Label = ""
    unit: Unit = ""
    better: Better = "higher"
    figures: dict[str, Figure] = {}  # noqa: RUF012 - msgspec copies it
    """In place of these four, where it prints several figures; each by its name."""
    reads: Format = "png"
    """What the program is given."""
    least_side: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Of an image that it is defined for."""
    identical: float | None = None
    """The value of the (first) figure where the images are equal."""
    symmetric: bool = False
    """Whether the two images can be exchanged."""


class ProgramMetric(OfPrograms, Metric):
    """A metric that is a program; `load` makes a subclass for each TOML file."""

    description: ClassVar[Description]
    places: ClassVar[Mapping[str, re.Pattern[str]]]
    """Where the number of each figure stands, by its name."""

    def prepare(self, reference: Image) -> Compare:
        given = _file(reference, self.description.reads)
        height, width, _ = reference.shape

        def compare(distorted: Image) -> dict[str, Value]:
            with temporary_folder() as folder:
                paths = {
                    name: folder / f"{name}.{self.description.reads}"
                    for name in ("reference", "distorted")
                }
                paths["reference"].write_bytes(given)
                paths["distorted"].write_bytes(_file(distorted, self.description.reads))
                try:
                    said = self.call("compare", {**paths, "width": width, "height": height}, folder)
                except ProgramError as error:
                    raise MetricError(f"{self.name} gave no figure: {error}") from error
            said = re.sub(r"\r\n?", "\n", said)  # however the program ends its lines
            return {name: self._number(name, said) for name in self.places}

        return compare

    def _number(self, name: str, said: str) -> float:
        found = self.places[name].search(said)
        if found is None:
            shown = " ".join(said.split())[-200:] or "nothing"
            raise MetricError(f"{self.name} printed no {name}, but {shown}")
        try:
            return float(found[1])
        except (TypeError, ValueError):
            raise MetricError(f"{self.name} printed {found[1]!r:.60}, which is no number") from None


def load(path: Path) -> type[ProgramMetric]:
    """Make the class of the metric that a TOML file describes.

    Raises
    ------
    SpecError
        Where the file cannot be read, or a key is missing, unknown or wrong.
    """
    description = described(path, Description)
    try:
        images = {"reference", "distorted"}
        commands = {
            key: words(
                key,
                command,
                path.parent,
                images if key == "compare" else set(),
                {"width", "height"} if key == "compare" else set(),
            )
            for key in ("compare", "version")
            if (command := getattr(description, key)) or key != "version"
        }
        if bool(description.figure) == bool(description.figures):
            raise ValueError("one of figure and figures is wanted - at `$.figure`")
        attributes = {
            "__module__": __name__,
            "__doc__": f"The program that {path.name} names.",
            "name": description.name,
            "label": description.label,
            "unit": description.unit,
            "better": description.better,
            "least_side": description.least_side,
            "identical": description.identical,
            "symmetric": description.symmetric,
            "scores": tuple(
                Score(name, one.label or name, one.unit, one.better)
                for name, one in description.figures.items()
            ),
            "source": path,
            "description": description,
            "commands": commands,
        }
        cls: type[ProgramMetric] = type(description.name, (ProgramMetric,), attributes)
        expressions = [one.figure for one in description.figures.values()] or [description.figure]
        cls.places = {
            score.name: _place(expression)
            for score, expression in zip(scores_of(cls), expressions, strict=True)
        }
    except (ValueError, SpecError) as error:
        raise SpecError(f"{path}: {shortened(error)}") from error
    return cls


def _place(expression: str) -> re.Pattern[str]:
    try:
        place = re.compile(expression, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{expression!r} is no regular expression ({error})") from None
    if place.groups != 1:
        raise ValueError(f"{expression!r} needs one group, around the number: '([0-9.]+)'")
    return place


def _file(image: Image, kind: Format) -> bytes:
    """An image as a file of this kind."""
    from lic_bench.images.image import write_image

    if kind == "rgb24":
        return image.tobytes()
    with temporary_folder() as folder:
        path = folder / f"image.{kind}"
        write_image(path, image)
        return path.read_bytes()
