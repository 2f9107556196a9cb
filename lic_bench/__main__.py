"""Lets ``python -m lic_bench`` be ``lic-bench``."""

from lic_bench.cli import main

main()
