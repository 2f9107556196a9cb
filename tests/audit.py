"""Ask the package registry for known weaknesses of what a requirements file holds.

    python tests/audit.py requirements/dev.txt

The exit code is 1 where there is one. A registry that does not answer, or that knows of none of the
packages, is no failure: it is said.
"""

import json
import subprocess
import sys


def main() -> int:
    """Audit, print what was found, and give the exit code."""
    words = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words, "--requirement", sys.argv[1]],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        print(f"Not audited: {reason[:300]}")
        return 0
    audited = [package for package in packages if "vulns" in package]
    found = [(package, weakness) for package in audited for weakness in package["vulns"]]
    for package, weakness in found:
        mended = ", ".join(weakness["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {weakness['id']}, mended in: {mended}")
    print(f"{len(audited)} of {len(packages)} packages audited, {len(found)} weaknesses known")
    if len(audited) < len(packages):
        print("The registry tells nothing of the others (a mirror without advisories does so).")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
