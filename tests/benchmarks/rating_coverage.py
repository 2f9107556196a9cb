"""How often the intervals of `lic-bench rate show` hold what is true: it should be 95 %.

Studies are simulated and scored, six codecs each, with 48 answers of a rater that count. Where all
raters and images are alike, the truth is what the simulation was given. Where they differ, it is
what so many raters and images would give that chance plays no part: 3,000 raters with 1,500 answers
each, about 20,000 images.

    python tests/benchmarks/rating_coverage.py [--studies 400]
"""

import argparse
from dataclasses import replace

import numpy as np

from lic_bench.rating.davidson import fit
from lic_bench.rating.planning import World, simulate
from lic_bench.rating.scores import JOD, scores

ALIKE = World(image_sd_jod=0, rater_sd=0, lapses=0)
SETTINGS = (
    ("all alike", ALIKE, 8),
    ("all alike", ALIKE, 20),
    ("raters and images differ", World(), 8),
    ("raters and images differ", World(), 20),
    ("raters and images differ", World(), 40),
    ("images differ twice as much", World(image_sd_jod=0.8), 20),
    ("the same, with 24 images", World(image_sd_jod=0.8, images=24), 20),
)


def truth(world: World, rng: np.random.Generator) -> np.ndarray:
    """The scores in JOD that studies of a world are about."""
    if world == ALIKE:
        return np.asarray(world.scores)
    large = simulate(replace(world, images=20_000, pairs=1500), 3000, rng)
    return np.asarray(fit(large.counts, large.pairs, world.codecs).scores / JOD)


def coverage(world: World, raters: int, studies: int) -> tuple[float, float, float]:
    """The shares of scores and of differences that their intervals hold, and half of a score's."""
    rng = np.random.default_rng(raters)
    true = truth(world, rng)
    of_scores, of_differences, reach = [], [], []
    for study in range(studies):
        found = scores(simulate(world, raters, rng), resamples=400, seed=study)
        at = dict(zip(found.codecs, [int(name[-2:]) - 1 for name in found.codecs], strict=True))
        of_scores += [
            one.low <= true[at[codec]] <= one.high
            for codec, one in zip(found.codecs, found.jod, strict=True)
        ]
        of_differences += [
            one.jod.low <= true[at[one.first]] - true[at[one.second]] <= one.jod.high
            for one in found.differences
        ]
        reach += [(one.high - one.low) / 2 for one in found.jod]
    return float(np.mean(of_scores)), float(np.mean(of_differences)), float(np.mean(reach))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=400, help="of each setting")
    studies = parser.parse_args().studies
    print(f"{studies} studies each\n\n| | raters | images | scores | differences | ± JOD |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, world, raters in SETTINGS:
        of_scores, of_differences, reach = coverage(world, raters, studies)
        print(
            f"| {name} | {raters} | {world.images} | {100 * of_scores:.1f} % "
            f"| {100 * of_differences:.1f} % | {reach:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
