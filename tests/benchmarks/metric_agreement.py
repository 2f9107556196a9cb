"""How far our metrics are from the programs that define them: the table in docs/metrics.md.

python tests/benchmarks/metric_agreement.py KODAK_DIR [NAME...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "metrics"))
from reference_pairs import METRICS, pairs


def main() -> None:
    made = list(pairs(Path(sys.argv[1])))
    print(f"{len(made)} pairs\n\n| scores of | of | largest difference |\n| --- | --- | --- |")
    for name in sys.argv[2:] or METRICS:
        metric, _, program = METRICS[name]
        apart = 0.0
        for _, reference, distorted, scores in made:
            found = metric(reference, distorted)
            assert found is not None
            apart = max(apart, abs(found - scores[name]))
        print(f"| `{name}` | {program} | {apart:.1g} |", flush=True)


if __name__ == "__main__":
    main()
