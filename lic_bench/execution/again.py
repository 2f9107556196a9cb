"""More metrics of what was measured before: computed from the kept bitstreams, nothing is encoded.

A store may be anybody's: a codec whose options name a file is followed where the user names it, and
an image is looked for in the data sets that are at hand, by its SHA-256.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench.codec.base import Codec
from lic_bench.codec.registry import Registry
from lic_bench.errors import LicBenchError, UnavailableError
from lic_bench.execution import provenance
from lic_bench.execution.figures import asked, states
from lic_bench.execution.measure import Task
from lic_bench.execution.run import Progress, measured, write_tables
from lic_bench.execution.updates import what_changed
from lic_bench.execution.workers import Workers
from lic_bench.images.dataset import Dataset, ImageFile
from lic_bench.metric.registry import metrics
from lic_bench.plugins.identity import identity
from lic_bench.plugins.spec import names_files, parse_spec
from lic_bench.store.database import Store
from lic_bench.store.file import store_in
from lic_bench.store.records import Key

if TYPE_CHECKING:
    import pandas as pd


def measure_again(
    folder: Path,
    specs: Sequence[str],
    datasets: Mapping[str, Dataset | str],
    *,
    codecs: Collection[str] = (),
    plugins: Sequence[Path] = (),
    device: str = "cpu",
    workers: Workers,
    report: Callable[[Progress], None] = lambda progress: None,
    note: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Compute metrics of what a folder's store holds, from its bitstreams.

    Parameters
    ----------
    specs
        Of the metrics.
    datasets
        By name; those that are not at hand with the reason.
    codecs
        Only these; none: all. Of those that are not named here, options that name files are not
        followed.
    note
        Called with each reason why measurements are left out.

    Returns
    -------
    All measurements of the store.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be written.
    SpecError, UnavailableError
        Where a metric does not exist, or cannot be used here.
    """
    files = tuple(path.resolve() for path in plugins)
    chosen = metrics(specs, files)
    scores = states(chosen)
    about = {
        "command": provenance.command(),
        **provenance.machine(),
        "metrics": list(chosen),
        "workers": str(workers),
    }
    with Store(store_in(folder)) as store:
        run = store.begin(about, (), {}, scores)
        at_hand = _AtHand(datasets, codecs, Registry(files))
        wanted: list[tuple[Key, Task]] = []
        known, left_out = 0, Counter[str]()
        for dataset, image, spec, key in store.with_streams(codecs):
            missing = store.missing(key, scores)
            if not missing:
                known += 1
                continue
            try:
                file, codec = at_hand.image(dataset, image, key), at_hand.codec(spec, key)
            except LicBenchError as error:
                left_out[str(error)] += dataset in datasets  # others are not wanted
                continue
            task = Task(
                image=file,
                codec=spec,
                identity=key.identity,
                point=key.point,
                plugins=files,
                device=device,
                metrics=tuple(m for m in asked(chosen) if missing.intersection(m.columns)),
                on_gpu={codec.device, device} != {"cpu"},
            )
            wanted.append((key, task))
        for why, number in (+left_out).items():
            note(f"{number} measurement{'s'[: number > 1]} left out: {why}")
        progress = Progress(known + len(wanted), known)
        report(progress)
        work = ((key, replace(task, kept=store.kept(key))) for key, task in wanted)
        for task, measurement in measured(store, run, work, len(wanted), workers):
            progress = progress.after(task, measurement)
            report(progress)
        store.finish(run)
        return write_tables(store)


class _AtHand:
    """Images and codecs that are there to measure again what a store tells of."""

    def __init__(
        self, datasets: Mapping[str, Dataset | str], named: Collection[str], registry: Registry
    ) -> None:
        self._datasets, self._named, self._registry = datasets, named, registry
        self._codecs: dict[str, tuple[Codec, str]] = {}

    def image(self, dataset: str, name: str, key: Key) -> ImageFile:
        """The file of an image, known to be the one that was measured."""
        if key.image_key in self._images:
            return self._images[key.image_key]
        found = self._datasets.get(dataset, f"{dataset} is none of those that are named")
        if isinstance(found, str):
            raise UnavailableError(found)
        raise UnavailableError(f"the images of {dataset} are not those that were measured")

    def codec(self, spec: str, key: Key) -> Codec:
        """The codec of a spec, known to be in the state in which it was measured."""
        if spec not in self._codecs:
            parsed = parse_spec(spec)
            cls = self._registry.entry(parsed.name).cls
            if cls and spec not in self._named and (options := names_files(cls, parsed)):
                raise UnavailableError(
                    f"{spec} is named by the store alone, and {', '.join(options)} may be any "
                    "file; name it with --codecs"
                )
            made = self._registry.codec(spec)
            self._codecs[spec] = made, identity(made)
        codec, present = self._codecs[spec]
        if present != key.identity:
            raise UnavailableError(
                f"{spec} is not what was measured: {what_changed(key.identity, present)}; "
                "lic-bench run measures it as it is now"
            )
        return codec

    @cached_property
    def _images(self) -> dict[str, ImageFile]:
        return {
            image.key: image
            for dataset in self._datasets.values()
            if not isinstance(dataset, str)
            for image in dataset.images
            if image.error is None
        }
