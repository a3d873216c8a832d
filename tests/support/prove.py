"""The long form of what the tests check of the allocation: `scripts/prove CHECK --sites N`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.support.share_checks import equals_program, equals_reference
from tests.support.sweep import sweep

CHECKS = {"reference": (equals_reference, 1_000_000), "programs": (equals_program, 20_000)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove", description=__doc__)
    parser.add_argument("check", choices=CHECKS, help="what the kernel is compared with")
    parser.add_argument("--sites", type=int, help="how many random sites, each named by its seed")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, help="processes; one per core unless given")
    asked = parser.parse_args()
    check, usual_sites = CHECKS[asked.check]
    n_sites = usual_sites if asked.sites is None else asked.sites
    begun_s = time.monotonic()
    found = sweep(check, range(asked.first, asked.first + n_sites), asked.workers)
    seconds = time.monotonic() - begun_s
    summary = f"{asked.check}: {n_sites} sites in {seconds:.0f} s, {len(found)} of them differ"
    sys.stdout.writelines(f"{line}\n" for line in (*found, summary))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
