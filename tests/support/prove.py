"""The long form of what the tests check of the allocation: `scripts/prove CHECK --sites N`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.support.admission import admission, table
from tests.support.share_checks import equals_program, equals_reference
from tests.support.sweep import gather, sweep

USUAL_SITES = {"reference": 1_000_000, "programs": 20_000, "admission": 20_000}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove", description=__doc__)
    parser.add_argument("check", choices=USUAL_SITES, help="what the kernel is compared with")
    parser.add_argument("--sites", type=int, help="how many random sites, each named by its seed")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, help="processes; one per core unless given")
    asked = parser.parse_args()
    n_sites = USUAL_SITES[asked.check] if asked.sites is None else asked.sites
    seeds = range(asked.first, asked.first + n_sites)
    begun_s = time.monotonic()
    if asked.check == "admission":
        found = gather(admission, seeds, asked.workers)
        wrong = [f"admission, seed {one.seed}: {one.said}" for one in found if one.said]
        lines = [*table(found), *wrong]
    else:
        check = equals_reference if asked.check == "reference" else equals_program
        lines = wrong = sweep(check, seeds, asked.workers)
    seconds = time.monotonic() - begun_s
    summary = f"{asked.check}: {n_sites} sites in {seconds:.0f} s, {len(wrong)} of them wrong"
    sys.stdout.writelines(f"{line}\n" for line in (*lines, summary))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
