"""What a run finds changed, said before it begins: why it measures anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lic_bench.execution.plan import Plan
from lic_bench.plugins.identity import changes
from lic_bench.store.database import Store


def updates(plan: Plan, store: Store, known: Mapping[str, int]) -> Iterator[str]:
    """A line for each data set and codec that has changed since the store's latest runs.

    Parameters
    ----------
    known
        How many of the plan's measurements the store holds, by identity.
    """
    for dataset in plan.datasets:
        before = {image: key for image, (key, *_) in store.images(dataset.name).items()}
        text = _images_changed(before, {image.name: image.key for image in dataset.images})
        if before and text:
            yield f"{dataset.name}: {text}"
    states = store.states()
    for spec, now in plan.identities.items():
        latest = store.latest(spec)
        count = plan.count(now) - known.get(now, 0)
        if latest is not None and latest != now and count:
            measurements = f"{count} measurement{'s'[: count != 1]}"
            number = states[spec][latest]
            yield f"{spec}: {what_changed(latest, now)}, {measurements}; before: {spec}@{number}"


def what_changed(before: str, now: str) -> str:
    """In what two identities differ, of which the one before may be anybody's."""
    try:
        return changes(before, now)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "it is not told of what it was made before"


def _images_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How the images of a data set have changed: their keys by name, before and now."""
    common = before.keys() & now.keys()
    counts = {
        "edited": sum(before[name] != now[name] for name in common),
        "added": len(now.keys() - common),
        "removed": len(before.keys() - common),
    }
    texts = [f"{count} image{'s'[: count != 1]} {how}" for how, count in counts.items() if count]
    return ", ".join(texts)
