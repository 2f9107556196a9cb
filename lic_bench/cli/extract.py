"""`lic-bench extract`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Folder,
    Labels,
    Memory,
    MetricName,
    OnlyCodecs,
    OriginalsOf,
    Plugins,
    PointsOf,
    Quiet,
    Timeout,
)
from lic_bench.errors import SpecError, check_known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lic_bench.images.dataset import ImageFile
    from lic_bench.images.image import Image
    from lic_bench.reporting.extracts import Extract


def extract(
    folder: Folder = RESULTS,
    codecs: OnlyCodecs = [],
    dataset: OriginalsOf = [],
    points: PointsOf = [],
    images: Annotated[
        list[str],
        typer.Option(metavar="NAMES", help="Only these images, separated by commas."),
    ] = [],
    at: Annotated[
        float | None,
        typer.Option(
            metavar="BPP", min=0, help="Of each codec the operating point nearest to this rate."
        ),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="bpp=RATE|METRIC=DB", help="The points that `run --match` found for this."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="LEFT,TOP,WIDTH,HEIGHT", help="Of the pictures only this part."),
    ] = None,
    zoom: Annotated[
        int, typer.Option(min=1, max=32, help="Each pixel as a square of so many.")
    ] = 1,
    strip: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The original and the codecs side by side, with bpp and --metric beneath: "
            ".png, .pdf or .svg.",
        ),
    ] = None,
    metric: MetricName = "psnr_rgb",
    label: Labels = [],
    plugin: Plugins = [],
    timeout: Timeout = 60,
    memory: Memory = None,
    quiet: Quiet = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files are put.")
    ] = Path("extracted"),
) -> None:
    """Take bitstreams and decoded pictures out of the results, for the figures of a paper.

    DIR/DATASET/IMAGE holds original.png and, for each codec and operating point, the picture and
    its bitstream; DIR/extracted.csv says what each is.

    - `lic-bench extract -d kodak --images kodim19.png --at 0.25 --strip lighthouse.pdf`
    - `lic-bench extract -c jpeg,webp --match bpp=0.25 --crop 96,64,192,128 --zoom 2`
    - `lic-bench extract -c jpeg -p 50 -o pictures`
    """
    from lic_bench.cli.arguments import labelled, names, originals, points_by_spec, specs
    from lic_bench.execution.memory import most_memory_gb
    from lic_bench.execution.runner import Limits
    from lic_bench.metric.quality import metric_named
    from lic_bench.metric.targets import parse_target
    from lic_bench.reporting import extracts
    from lic_bench.store.selection import select
    from lic_bench.store.table import load

    if at is not None and match is not None:
        raise SpecError("--at and --match choose the points in two ways: give one of them")
    labels = labelled(label)
    kind, part = metric_named(metric), None if crop is None else extracts.parse_crop(crop)
    typed = specs(codecs)
    table = load(folder, typed)
    found = originals(dataset, sorted(set(table["dataset"])))
    for name, one in found.items():
        if isinstance(one, str):
            console.say(f"Without the originals of {name}: {one.splitlines()[0]}", err=True)
    files = {
        image.key: image
        for one in found.values()
        if not isinstance(one, str)
        for image in one.images
        if image.error is None
    }
    table = select(
        table,
        codecs=typed,
        datasets=list(found),
        images=names(images),
        points=points_by_spec(points),
    )
    for codec in labels:
        check_known("measured codec", codec, table["codec"].unique())
    target = None if match is None else parse_target(match)
    wanted, notes = extracts.choose(table, rate=at, match=target)
    for note in notes:
        console.note(note)
    limits = Limits(timeout, most_memory_gb() if memory is None else memory, confined=True)
    made = extracts.extract(
        wanted,
        folder,
        files,
        plugins=[path.resolve() for path in plugin],
        named=list(table["codec"].unique()) if typed else [],
        limits=limits,
    )

    def shown(image: Image) -> Image:
        return extracts.zoomed(image if part is None else part.of(image), zoom)

    pictures = list(console.tracked(made, "decoding", len(wanted)))
    _write(pictures, files, shown, out)
    console.tell(f"{out}: {len(pictures)} pictures and bitstreams")
    if strip is not None:
        from lic_bench.reporting.plots import save_plot
        from lic_bench.reporting.strip import draw

        rows = _by_image(pictures, files)
        drawn = [[shown(first), *(shown(one.picture) for one in own)] for first, own in rows]
        save_plot(draw(rows, drawn, metric=kind.name, labels=labels), strip)
        console.tell(strip)


def _write(
    pictures: Sequence[Extract],
    files: Mapping[str, ImageFile],
    shown: Callable[[Image], Image],
    out: Path,
) -> None:
    """Write the files, and the table that says what each is."""
    import pandas as pd

    from lic_bench.files import atomic_write
    from lic_bench.images.image import write_image

    rows = []
    for one in pictures:
        wanted = one.wanted
        folder = out / _file_name(wanted.dataset) / _file_name(Path(wanted.image).stem)
        folder.mkdir(parents=True, exist_ok=True)
        point = f"@{wanted.point}" if wanted.point else ""
        stem = folder / _file_name(f"{wanted.codec}{point}")
        picture, stream = (stem.with_name(f"{stem.name}{kind}") for kind in (".png", ".bin"))
        write_image(picture, shown(one.picture))
        with atomic_write(stream) as part:
            part.write_bytes(one.stream)
        names = ("dataset", "image", "codec", "point", "bpp")
        row = {name: getattr(wanted, name) for name in names}
        places = [path.relative_to(out).as_posix() for path in (picture, stream)]
        rows.append({**row, **wanted.quality, "picture": places[0], "bitstream": places[1]})
        original = folder / "original.png"
        if wanted.key.image_key in files:
            write_image(original, shown(files[wanted.key.image_key].read()))
    with atomic_write(out / "extracted.csv") as part:
        pd.DataFrame(rows).to_csv(part, index=False)


def _file_name(text: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w.,=@+-]+", "_", text.replace(":", "_")).strip(".") or "_"


def _by_image(
    pictures: Sequence[Extract], files: Mapping[str, ImageFile]
) -> list[tuple[Image, list[Extract]]]:
    """The pictures of each image, and its original.

    Raises
    ------
    SpecError
        Where an original is not at hand.
    """
    grouped: dict[str, list[Extract]] = {}
    for one in pictures:
        grouped.setdefault(one.wanted.key.image_key, []).append(one)
    for key, own in grouped.items():
        if key not in files:
            raise SpecError(
                f"--strip shows the original, and that of {own[0].wanted.image} is not at hand: "
                "name its folder: --dataset PATH"
            )
    return [(files[key].read(), own) for key, own in grouped.items()]
