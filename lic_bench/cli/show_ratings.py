"""What `lic-bench rate show` shows at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from lic_bench.cli import console

if TYPE_CHECKING:
    from lic_bench.rating.judged import Judged
    from lic_bench.rating.planning import Forecast, World
    from lic_bench.rating.results import Result
    from lic_bench.rating.scores import Estimate


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


def remarked(found: Judged) -> None:
    """Print what the raters remarked."""
    for rater, remark in found.remarks:
        lines = remark.replace("\n", "\n    ")
        console.say(f"  {rater}: {lines}")


def caption(of: Result) -> str:
    """What the scores are of, in a line."""
    study, scores = of.judged.study, of.scores
    return (
        f"{study.dataset} at {study.target}: {scores.answers} answers by {scores.raters} raters "
        f"about {scores.images} images"
    )


def shown(of: Result, title: str = "") -> None:
    """Print what came of a study."""
    output = console.output(console.WIDE)
    scores = of.scores
    output.print()
    table = console.plain_table(
        "codec",
        "JOD",
        "95 %",
        "Elo",
        "95 %",
        title=escape(f"{title + ': ' if title else ''}{caption(of)}"),
    )
    for codec, jod, elo in zip(scores.codecs, scores.jod, scores.elo, strict=True):
        table.add_row(
            escape(codec), f"{jod.value:+.2f}", _reach(jod, 2), f"{elo.value:.0f}", _reach(elo, 0)
        )
    output.print(table)
    output.print()
    table = console.plain_table(
        "difference", "JOD", "95 %", "p (Holm)", "preferred", "can't tell", title="Differences"
    )
    places = {codec: place for place, codec in enumerate(scores.codecs)}
    for one in scores.differences:
        a, b = places[one.first], places[one.second]
        wins, losses, ties = scores.wins[a, b], scores.wins[b, a], scores.ties[a, b]
        table.add_row(
            escape(f"{one.first} over {one.second}"),
            f"{one.jod.value:.2f}",
            _reach(one.jod, 2),
            f"{one.p:.3f}" if one.p >= 0.0005 else "< 0.001",
            f"{wins:.0f} : {losses:.0f}",
            f"{ties:.0f}",
        )
    output.print(table)
    if of.agreements:
        output.print()
        table = console.plain_table(
            "metric",
            "share of answers",
            "95 %",
            "rank correlation",
            "95 %",
            title="Which metric should you have believed?",
        )
        for metric in of.agreements:
            share = metric.share
            ranked = metric.rank.value == metric.rank.value
            table.add_row(
                escape(metric.metric),
                f"{100 * share.value:.0f} %",
                f"{100 * share.low:.0f} to {100 * share.high:.0f} %",
                f"{metric.rank.value:+.2f}" if ranked else "--",
                _reach(metric.rank, 2) if ranked else "",
            )
        output.print(table)
    output.print()
    for line in of.checks:
        console.say(line)
    if of.unequal:
        console.note(
            f"{of.unequal} of the {scores.answers} answers are about pairs whose rates differ by "
            "more than 5 %"
        )
    for note in scores.notes:
        console.note(note)


def screened(reasons: dict[str, str], raters: int) -> None:
    """Print who is left out, and why."""
    console.say(f"\nScreening leaves out {len(reasons)} of {raters} raters.")
    for reason in reasons.values():
        console.say(f"  {reason}")


def planned(world: World, forecasts: list[Forecast]) -> None:
    """Print what so many raters may give."""
    title = (
        f"{world.codecs} codecs, {world.images} images, {world.pairs} counted pairs a rater, "
        f"{world.spread_jod:g} JOD from the worst to the best"
    )
    table = console.plain_table(
        "raters", "answers", "score ± JOD", "difference ± JOD", "differences found", title=title
    )
    for one in forecasts:
        table.add_row(
            str(one.raters),
            str(one.answers),
            f"{one.score_jod:.2f}",
            f"{one.difference_jod:.2f}",
            f"{100 * one.found:.0f} %",
        )
    console.output(console.WIDE).print(table)
    console.say(
        "± is half an interval of 95 %, in the mean; found: beyond doubt (p < 0.05 after Holm)."
    )


def _reach(estimate: Estimate, digits: int) -> str:
    sign = "+" if digits else ""
    return f"{estimate.low:{sign}.{digits}f} to {estimate.high:{sign}.{digits}f}"
