"""Memory is measured while other threads work: a crash of the process cannot be shown in a notebook."""

import subprocess
import sys

BUSY = """
import ctypes, faulthandler, sys, threading, time
import numpy as np
from i2v_lab.core.tracing import TRACING

faulthandler.enable()
sys.setswitchinterval(1e-5)
here, over = ctypes.CDLL(None), threading.Event()  # its functions are called without Python's lock
here.PyMem_RawMalloc.restype, here.PyMem_RawFree.argtypes = ctypes.c_void_p, [ctypes.c_void_p]


def allocate():
    while not over.is_set():
        here.PyMem_RawFree(here.PyMem_RawMalloc(4096))


threads = [threading.Thread(target=allocate, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
end = time.monotonic() + 3
while time.monotonic() < end:
    before = TRACING.enter()
    array = np.ones(10_000)
    now, peak = TRACING.leave()
    assert peak - before >= array.nbytes
over.set()
for thread in threads:
    thread.join()
print("alive")
"""


def test_a_trace_ends_while_other_threads_allocate():
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "alive", f"exit code {done.returncode}\n{done.stderr}"
