"""The differential fuzz for as long as is asked: `python -m tests.export.user_module.fuzz SECONDS [FIRST_SEED]`.

Prints each finding with its module made as small as can be, and in the end how many modules were exported and refused;
exit code 1 where there was a finding. Seconds are of this process' own processor time, so that other work on the
machine does not shorten the fuzz.
"""

import os
import sys
import time
import warnings

import torch

from tests.export.user_module.fuzz.differential import outcome_of, shrunk
from tests.export.user_module.fuzz.grammar import drawn_case


def main(seconds: float, first_seed: int) -> int:
    """Run; the exit code."""
    end = time.process_time() + seconds
    num_exported = num_refused = num_compared = num_findings = 0
    seed = first_seed
    while time.process_time() < end:
        outcome = outcome_of(drawn_case(seed))
        seed += 1
        num_refused += bool(outcome.refusal)
        num_exported += not outcome.refusal
        num_compared += outcome.num_compared
        if outcome.finding:
            num_findings += 1
            smallest = shrunk(outcome)
            print(f"{outcome.case}\n  shrunk: {smallest.case}\n  {smallest.finding}", flush=True)
    print(
        f"{seed - first_seed} modules from seed {first_seed}: {num_exported} exported and compared in {num_compared} "
        f"batches, {num_refused} refused, {num_findings} findings"
    )
    return num_findings > 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
