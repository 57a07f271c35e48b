"""Peak memory of one call, from the allocator's own events: `peak_bytes(work)`; measured on the CPU."""

import gc
import os
from collections.abc import Callable
from itertools import accumulate

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler complains that there is no GPU

from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable) -> int:
    "The most that torch had allocated at a time during a call, beyond what it had before; that should not be freed in it."
    gc.collect()  # what dies of itself during the call would be taken for room that the call made
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as watched:
        work()
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), default=0)
