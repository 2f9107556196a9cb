"""What `lic-bench rate show` shows at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from lic_bench.cli import console

if TYPE_CHECKING:
    from lic_bench.rating.judged import Judged
    from lic_bench.rating.scores import Estimate, Scores


def answered(found: Judged) -> None:
    """Print how much was answered, and what of it does not count, and why."""
    from lic_bench.rating.judged import left_out

    study = found.study
    raters = found.trials["rater"].nunique()
    console.say(
        f"Study {study.id[:8]}: {study.dataset}, {len(study.images)} images at {study.target}; "
        f"{raters} raters, {found.sessions} sessions ({found.complete} complete), "
        f"{len(found.trials)} trials, of which {len(found.counted)} count"
    )
    for reason, number in left_out(found.trials):
        console.say(f"  {number} do not: {reason}")


def scored(scores: Scores, title: str = "") -> None:
    """Print scores, with their intervals."""
    output = console.output(console.WIDE)
    table = console.plain_table("codec", "JOD", "95 %", "Elo", "95 %", title=title or None)
    for codec, jod, elo in zip(scores.codecs, scores.jod, scores.elo, strict=True):
        table.add_row(
            escape(codec), f"{jod.value:+.2f}", _reach(jod, 2), f"{elo.value:.0f}", _reach(elo, 0)
        )
    output.print(table)
    for note in scores.notes:
        console.note(note)


def _reach(estimate: Estimate, digits: int) -> str:
    sign = "+" if digits else ""
    return f"{estimate.low:{sign}.{digits}f} to {estimate.high:{sign}.{digits}f}"
