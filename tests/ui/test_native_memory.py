"""The C library's memory: the setting is taken where there is one."""

from __future__ import annotations

import platform
import subprocess
import sys

COUNT = """
import ctypes, sys, threading
from rewardfl_app.ui import native_memory

shared = native_memory.share_arenas() if sys.argv[1] == "shared" else False
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
arenas, all_here = set(), threading.Barrier(8)

def take():
    place = libc.malloc(1000)
    all_here.wait()
    arenas.add(place >> 26)  # an arena is a stretch of 64 MB

threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(shared, len(arenas))
"""


def test_threads_share_two_arenas() -> None:
    def told(how: str) -> tuple[str, int]:
        answer = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        done, number = answer.stdout.split()
        return done, int(number)

    if platform.libc_ver()[0] == "glibc":
        assert told("left")[1] > 3
        done, number = told("shared")
        assert done == "True" and number <= 3
    else:
        assert told("shared")[0] == "False"
