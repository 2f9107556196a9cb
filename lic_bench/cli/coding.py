"""`lic-bench encode` and `lic-bench decode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import CodecSpec, Memory, Plugins, Quiet, Timeout
from lic_bench.errors import BitstreamError, CodecError, SpecError

if TYPE_CHECKING:
    from lic_bench.codec import base
    from lic_bench.execution.runner import Request, Value

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
    timeout: Timeout = 600,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Encode an image into a file that holds the bitstream and nothing else.

    - `lic-bench encode --codec jpeg2000 --point 40 in.png out.jp2`
    - `lic-bench encode -c content-weighted -p 3 in.png out.cw --show-map map.png`
    """
    from lic_bench.codec.registry import Registry
    from lic_bench.execution.requests import Encode, MapImportance
    from lic_bench.files import atomic_write
    from lic_bench.images.image import read_image, write_image

    plugins = tuple(path.resolve() for path in plugin)
    encoder = Registry(plugins).codec(codec)
    chosen = _point(encoder, point)
    image = read_image(source)
    with _asking(codec, encoder.device, timeout, memory) as ask:
        stream = ask(Encode(codec, plugins, image, chosen)).stream
        importance = None
        if show_map is not None:
            importance = ask(MapImportance(codec, plugins, image, chosen))
    with atomic_write(target) as part:
        part.write_bytes(stream)
    height, width, _ = image.shape
    rate = 8 * len(stream) / (width * height)
    console.tell(f"{target}: {width}x{height} pixels in {len(stream):,} bytes, {rate:.4f} bpp")
    if show_map is not None and importance is not None:
        write_image(show_map, importance)
        console.tell(show_map)


def decode(
    source: _Stream,
    target: _Image,
    codec: CodecSpec,
    plugin: Plugins = [],
    timeout: Timeout = 600,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Decode a bitstream into an image file.

    - `lic-bench decode --codec jpeg2000 out.jp2 back.png`
    """
    from lic_bench.codec.registry import Registry
    from lic_bench.execution.faults import RefusedError
    from lic_bench.execution.requests import Decode
    from lic_bench.images.image import write_image

    plugins = tuple(path.resolve() for path in plugin)
    device = Registry(plugins).codec(codec).device
    try:
        stream = source.read_bytes()
    except OSError as error:
        raise BitstreamError(f"{source} cannot be read: {error.strerror}") from error
    with _asking(codec, device, timeout, memory, confined=True) as ask:
        try:
            image = ask(Decode(codec, plugins, stream))
        except RefusedError as error:
            raise BitstreamError(f"{source}: {error}") from error
    write_image(target, image)
    height, width, _ = image.shape
    console.tell(f"{target}: {width}x{height} pixels")


@contextmanager
def _asking(
    spec: str,
    device: str,
    timeout_s: float,
    memory_gb: float | None,
    *,
    confined: bool = False,
) -> Iterator[Callable[[Request[Value]], Value]]:
    """A process that executes requests within limits; on a GPU there is none of memory.

    Raises
    ------
    RefusedError
        Where the codec refuses what it is given.
    CodecError
        Where it does anything else than what it is asked for.
    """
    from lic_bench.execution.faults import FaultError, RaisedError, RefusedError
    from lic_bench.execution.memory import most_memory_gb
    from lic_bench.execution.runner import Limits, Runner, cores

    if memory_gb is None:
        memory_gb = most_memory_gb() if device == "cpu" else 0
    with closing(Runner(Limits(timeout_s, memory_gb, cores(), confined))) as runner:
        try:
            yield runner.ask
        except RefusedError:
            raise
        except FaultError as fault:
            if isinstance(fault, RaisedError):
                fault.add_note(fault.trace)  # which --debug shows
            raise CodecError(f"{spec}: {fault.advice()}") from fault


def _point(codec: base.Codec, text: str | None) -> base.Point:
    from lic_bench.codec.base import point_text
    from lic_bench.codec.points import parse_points

    if text is not None:
        return parse_points(codec, [text])[0]
    if len(codec.points) > 1:
        points, unit = ", ".join(map(point_text, codec.points)), codec.point_unit or "one"
        raise SpecError(f"{codec.name} needs a --point: {unit} such as {points}")
    return codec.points[0]
