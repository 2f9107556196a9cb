"""Lets ``python -m lic_bench`` be ``lic-bench``."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder: no module that happens to lie there is ours to run

from lic_bench.cli.main import main

main()
