"""The help of commands with many options: in panels, in the order in which people need them."""

from __future__ import annotations

from typing import Any

_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "run": {
        "What is measured": (
            *("codecs", "dataset", "points", "images", "match", "metrics", "profile"),
        ),
        "What comes out": ("out", "anchor", "dry_run", "quiet", "json"),
        "How it is measured": (
            *("fetch", "plugin", "jobs", "device", "timeout", "memory", "check_decode"),
            *("scheduler", "insecure_scheduler", "debug"),
        ),
    },
    "table": {
        "What the table shows": ("anchor", "metric", "interval", "by_point", "at", "match"),
        "Of which measurements": ("codecs", "dataset", "points"),
        "What comes out": ("out", "layout", "label"),
    },
    "plot": {
        "What the figure shows": (
            *("metric", "published", "multiples", "images", "by_metric", "by_image", "by_quality"),
            *("by_complexity", "times", "anchor"),
        ),
        "Of which measurements": ("codecs", "dataset", "points"),
        "How it looks": ("xlim", "ylim", "log", "wide", "label", "title", "no_title"),
        "What comes out": ("out",),
    },
    "report": {
        "What the page shows": ("codecs", "dataset", "points", "published"),
        "Pictures": ("viewer", "images", "rates", "max_size"),
        "What comes out": ("out", "paths"),
        "How it is made": ("plugin", "jobs", "timeout", "memory"),
    },
    "extract": {
        "Which pictures": ("codecs", "dataset", "points", "images", "at", "match"),
        "How they look": ("crop", "zoom", "strip", "metric", "label"),
        "What comes out": ("out",),
        "How it is done": ("plugin", "timeout", "memory"),
    },
    "time": {
        "What is timed": ("codecs", "dataset", "points", "match", "images", "plugin"),
        "How it is timed": ("repeats", "threads"),
        "What comes out": ("out", "plot", "anchor", "metric"),
    },
    "train": {
        "Always": ("images", "out"),
        "For how long": ("minutes", "steps", "weights", "decoder_only"),
        "What is trained": (
            *("recipe", "loss", "target_bpp", "width", "code_channels", "without_map", "rounding"),
        ),
        "How it is trained": ("device", "compiled", "batch", "seed"),
    },
    "make": {
        "What is compared": ("codecs", "dataset", "match", "images"),
        "What raters are asked": ("pairs", "unequal", "foregone", "title", "seed"),
        "What comes out": ("out",),
        "How it is made": ("plugin", "jobs", "timeout", "memory"),
    },
}
"""By command, the options of each panel."""

_REST = "Further options"


def arrange(command: Any) -> None:
    """Put a command's options into its panels; those of commands with few options stay as they are.

    An option that no panel names stands in a last one.
    """
    panels = _PANELS.get(command.name)
    if panels is None:
        return
    places = {name: panel for panel, names in panels.items() for name in names}
    options = [one for one in command.params if one.param_type_name == "option"]
    for option in options:
        option.rich_help_panel = places.get(option.name, _REST)
    order = [*places, *(option.name for option in options)]
    arguments = [one for one in command.params if one.param_type_name != "option"]
    command.params[:] = [*arguments, *sorted(options, key=lambda option: order.index(option.name))]
