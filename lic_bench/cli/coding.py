"""`lic-bench encode` and `lic-bench decode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli.options import CodecSpec, Plugins
from lic_bench.errors import BitstreamError, SpecError

if TYPE_CHECKING:
    from lic_bench.codec import base

_Image = Annotated[Path, typer.Argument(metavar="IMAGE")]
_Stream = Annotated[Path, typer.Argument(metavar="STREAM")]


def encode(
    source: _Image,
    target: _Stream,
    codec: CodecSpec,
    point: Annotated[
        str | None,
        typer.Option("--point", "-p", help="The operating point, where there are several."),
    ] = None,
    show_map: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Show where the bits went, for codecs that know."),
    ] = None,
    plugin: Plugins = [],
) -> None:
    """Encode an image into a file that holds the bitstream and nothing else.

    - `lic-bench encode --codec jpeg2000 --point 40 in.png out.jp2`
    - `lic-bench encode -c content-weighted -p 3 in.png out.cw --show-map map.png`
    """
    from lic_bench.codec.registry import Registry
    from lic_bench.files import atomic_write
    from lic_bench.images.image import read_image, write_image

    encoder = Registry(plugin).codec(codec)
    chosen = _point(encoder, point)
    image = read_image(source)
    stream = encoder.encode(image, chosen)
    importance = None if show_map is None else encoder.importance_map(image, chosen)
    with atomic_write(target) as part:
        part.write_bytes(stream)
    height, width, _ = image.shape
    rate = 8 * len(stream) / (width * height)
    typer.echo(f"{target}: {width}x{height} pixels in {len(stream):,} bytes, {rate:.4f} bpp")
    if show_map is not None and importance is not None:
        write_image(show_map, importance)
        typer.echo(show_map)


def decode(source: _Stream, target: _Image, codec: CodecSpec, plugin: Plugins = []) -> None:
    """Decode a bitstream into an image file.

    - `lic-bench decode --codec jpeg2000 out.jp2 back.png`
    """
    from lic_bench.codec.registry import Registry
    from lic_bench.images.image import write_image

    decoder = Registry(plugin).codec(codec)
    try:
        stream = source.read_bytes()
    except OSError as error:
        raise BitstreamError(f"{source} cannot be read: {error.strerror}") from error
    try:
        image = decoder.decode(stream)
    except BitstreamError as error:
        raise BitstreamError(f"{source}: {error}") from error
    write_image(target, image)
    height, width, _ = image.shape
    typer.echo(f"{target}: {width}x{height} pixels")


def _point(codec: base.Codec, text: str | None) -> base.Point:
    from lic_bench.codec.base import point_text
    from lic_bench.codec.spec import parse_points

    if text is not None:
        return parse_points(codec, [text])[0]
    if len(codec.points) > 1:
        points = ", ".join(map(point_text, codec.points))
        raise SpecError(f"{codec.name} needs a --point: {codec.point_unit} such as {points}")
    return codec.points[0]
