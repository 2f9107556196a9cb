"""Fuzz what others send, beside bitstreams: stores, imports, weights, a report's data.

    python tests/fuzz/fuzz.py --inputs 1000000 --seed 1

Each input is made from a seed, which is told of each that goes wrong: anything raised but a
`LicBenchError`, more than 20 seconds, more than 2 GB. The process gives up its rights to write
anywhere but in its own folder, and to read anything but this project, the interpreter and its
libraries (Landlock, where the kernel has it), so that an input that has another file touched fails,
too. The exit code is 1 where any went wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from targets import TARGETS, _good, tried
from weights_target import compile_coders

from lic_bench.execution import memory
from lic_bench.execution.confinement import confine

ROOT = Path(__file__).parents[2]
CANARY = "canary"
_SECONDS = 20
_GB = 2.0
SHARES = {
    "safetensors header": 0.399,
    "texts of a store": 0.36,
    "CSV of points": 0.09,
    "CompressAI's JSON": 0.084,
    "store": 0.02,
    "report data": 0.002,
    "answers of raters": 0.02,
    "TOML files": 0.02,
    "weights": 0.004,
    "shipped weights": 0.001,
}
"""Of the inputs: most go to what is soon answered."""


def main() -> None:
    """Fuzz, and print what became of the inputs of each target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one target, which gets all inputs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as outer:
        Path(outer, CANARY).write_text("not to be read")
        name = Path(outer, "inputs")
        name.mkdir()
        child = os.fork()  # what is confined could not remove the folder
        if not child:
            _fuzz(arguments, name)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _fuzz(arguments: argparse.Namespace, folder: Path) -> None:
    """Do all of it, and leave the process."""
    code = 1
    try:
        tempfile.tempdir = str(folder)
        _good()
        compile_coders()
        libraries = [Path(name) for name in (sys.prefix, sys.base_prefix, *sys.path) if name]
        system = [Path(name) for name in ("/usr", "/lib", "/lib64", "/etc", "/proc", "/sys")]
        confined = confine([folder], [ROOT, *libraries, *system])
        if confined:
            _check_watch(folder)
        memory.limit(_GB)
        print("reads and writes nowhere else (Landlock)" if confined else "not confined here")
        print(f"{'target':20} {'inputs':>9} {'read':>9} {'refused':>9} {'wrong':>6} {'slowest':>9}")
        wrong = 0
        for target, share in SHARES.items():
            if arguments.only not in ("", target):
                continue
            count = arguments.inputs if arguments.only else round(arguments.inputs * share)
            wrong += _fuzzed(target, count, arguments.seed, folder)
        code = int(wrong > 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _check_watch(folder: Path) -> None:
    """Make sure that what is forbidden fails."""
    (folder / "a").write_text("a")
    for mode in ("r", "w"):
        try:
            (folder.parent / CANARY).open(mode).close()
        except PermissionError:
            continue
        raise RuntimeError(f"a file outside could be opened: {mode}")


def _fuzzed(target: str, count: int, seed: int, folder: Path) -> int:
    """Try a target, print a line, and give the number of inputs that went wrong."""
    verdicts: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        one = seed * 1_000_003 + number
        start = time.monotonic()
        signal.alarm(_SECONDS)
        try:
            verdicts[tried(TARGETS[target], one, folder)] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            verdicts["wrong"] += 1
            print(f"{target}, seed {one}:\n{traceback.format_exc()[-1500:]}", flush=True)
        signal.alarm(0)
        slowest = max(slowest, time.monotonic() - start)
    read, refused, wrong = (verdicts[name] for name in ("read", "refused", "wrong"))
    print(f"{target:20} {count:9} {read:9} {refused:9} {wrong:6} {slowest:7.2f} s", flush=True)
    return wrong


def _too_long(*_: object) -> None:
    raise TimeoutError(f"took longer than {_SECONDS} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
