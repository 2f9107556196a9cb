"""The making of the viewer's pictures: which come from where, within what the file may hold.

A first scene that would make the file larger than it may be is left out, with all that come after
it. The page says of each picture that is left out why.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lic_bench.codec.registry import Registry
from lic_bench.errors import LicBenchError, StoreError
from lic_bench.execution.faults import FaultError, OutOfTimeError
from lic_bench.execution.runner import Limits, Request, Runners
from lic_bench.plugins.spec import names_files, parse_spec
from lic_bench.reporting.page.pictures import Picture, ShowDecoded, ShowImported, ShowOriginal
from lic_bench.reporting.page.remembered import Remembered, key_of
from lic_bench.reporting.page.scenes import Scene, Shot
from lic_bench.store.database import Store

_TOO_LARGE = "the file would be larger than --max-size"
_NO_ORIGINAL = "the original was not at hand: fetch the data set, or name its folder"


def make_all(
    wanted: Sequence[Scene],
    store: Path,
    *,
    budget: int,
    jobs: int,
    plugins: Sequence[Path] = (),
    named: Collection[str] = (),
    limits: Limits,
    remembered: Remembered | None = None,
) -> Iterator[list[Picture]]:
    """Make pictures in worker processes, until they take so many bytes of the file.

    Parameters
    ----------
    budget
        In bytes.
    named
        The specs that the user has named. Of those that a store alone names, the options that name
        a file are not followed: it may be anybody's.
    limits
        For each picture. A codec that takes too long for one is not tried again.
    remembered
        The pictures of earlier reports, to which those of this one are added.
    """
    gallery = _Gallery(store, tuple(plugins), named, limits, remembered)
    threads = ThreadPoolExecutor(jobs)
    try:
        futures = [threads.submit(gallery.make, scene) for scene in wanted]
        for scene, future in zip(wanted, futures, strict=True):
            if budget <= 0:
                future.cancel()
                yield _without(scene, _TOO_LARGE)
                continue
            pictures = future.result()
            size = sum(picture.size for picture in pictures)
            budget = budget - size if size <= budget else 0
            yield pictures if budget else _without(scene, _TOO_LARGE)
    finally:
        gallery.close()
        threads.shutdown(cancel_futures=True)


class _Gallery:
    """Makes scenes, in threads that have each a process and read the store themselves."""

    def __init__(
        self,
        store: Path,
        plugins: tuple[Path, ...],
        named: Collection[str],
        limits: Limits,
        remembered: Remembered | None,
    ) -> None:
        self._remembered = remembered
        self._store, self._plugins, self._named = store, plugins, named
        self._registry = Registry(plugins)
        self._runners = Runners(limits)
        self._slow: dict[str, str] = {}
        """By codec: how long one of its pictures took."""

    def make(self, scene: Scene) -> list[Picture]:
        """Make the pictures of a scene; those that cannot be made say why."""
        pictures = [self._original(scene)] if scene.with_original else []
        with Store.open(self._store) as store:
            for shot in scene.shots:
                picture = _of(scene, shot)
                if shot.codec in self._slow:
                    pictures.append(replace(picture, problem=self._slow[shot.codec]))
                    continue
                try:
                    pictures.append(self._shown(scene, shot, picture, store.kept(shot.key).stream))
                except OutOfTimeError as fault:
                    self._slow[shot.codec] = f"{shot.codec} {fault.advice()}"
                    pictures.append(replace(picture, problem=self._slow[shot.codec]))
                except (FaultError, StoreError) as error:
                    pictures.append(replace(picture, problem=str(error)))
        return pictures

    def close(self) -> None:
        """End the processes."""
        self._runners.close()
        if self._remembered is not None:
            self._remembered.tidy()

    def _original(self, scene: Scene) -> Picture:
        empty = Picture(scene.dataset, scene.image, scene.rate, None)
        if scene.file is None:
            return replace(empty, problem=_NO_ORIGINAL)
        show, file = self._runners.ask, scene.file
        try:
            key = key_of("original", file.key)
            return self._known(key, empty, lambda: replace(empty, data=show(ShowOriginal(file))))
        except FaultError as fault:
            return replace(empty, problem=str(fault))

    def _known(self, key: str | None, picture: Picture, make: Callable[[], Picture]) -> Picture:
        """A picture as it was made before, or as it is made now; without a key not remembered."""
        if self._remembered is None or key is None:
            return make()
        if found := self._remembered.find(key, picture):
            return found
        made = make()
        self._remembered.keep(key, made)
        return made

    def _shown(self, scene: Scene, shot: Shot, picture: Picture, stream: bytes | None) -> Picture:
        request: Request[Picture]
        if not shot.imported:
            if problem := self._follows(shot):
                return replace(picture, problem=problem)
            request = ShowDecoded(
                picture, stream or b"", shot.mse, scene.file, shot.spec, self._plugins
            )
        elif stream is None:
            return replace(picture, problem=f"{shot.codec} was imported without pictures")
        else:
            request = ShowImported(picture, stream, shot.mse, scene.file)
        # What no original says to be the picture that was measured is made anew each time.
        key = None
        if scene.file is not None:
            of = (shot.spec, shot.key.identity, shot.point, shot.mse, scene.file.key)
            key = key_of(str(shot.imported), *of, stream or b"", plugins=self._plugins)
        return self._known(key, picture, lambda: self._runners.ask(request))

    def _follows(self, shot: Shot) -> str | None:
        """Why a codec must not be made for a store's sake alone."""
        codec = shot.spec
        if {codec, shot.codec} & set(self._named):
            return None
        try:
            spec = parse_spec(codec)
            cls = self._registry.entry(spec.name).cls
        except LicBenchError as error:
            return str(error)
        if cls is None or not (options := names_files(cls, spec)):
            return None
        return (
            f"{codec} is named by the store alone, and {', '.join(options)} may be any file; "
            f"show it with lic-bench report --codecs {shlex.quote(codec)}"
        )


def _without(scene: Scene, problem: str) -> list[Picture]:
    """A scene's pictures, all missing."""
    empty = Picture(scene.dataset, scene.image, scene.rate, None, problem=problem)
    shots = [replace(_of(scene, shot), problem=problem) for shot in scene.shots]
    return [*([empty] if scene.with_original else []), *shots]


def _of(scene: Scene, shot: Shot) -> Picture:
    """A picture that is still to be made."""
    known = shot.codec, shot.point, shot.bpp, shot.quality
    return Picture(scene.dataset, scene.image, scene.rate, *known)
