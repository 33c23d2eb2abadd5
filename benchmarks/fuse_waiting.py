"""What a request costs whose handler waits: it goes to the loop once (`sleep(0)`), as one does that asks others.

    python -m benchmarks.fuse_waiting --quick
    python -m benchmarks.fuse_waiting --repeats 3

Reads of 4 KiB by 1, 4 and 32 programs at a time, all on one CPU with the server. `us` is what one program sees.
mfusepy and libfuse's C server are not here: they have no loop to wait on.
"""

from __future__ import annotations

from benchmarks.fuse_frame import PAIRS, Case, drive, subjects

CLIENTS = (1, 4, 32)
WAITING = {"BENCHMARK_WAIT": "1"}

if __name__ == "__main__":
    drive(
        "fuse_waiting",
        "Handlers that wait: ours against pyfuse3.",
        [Case(f"read_4k x{clients}", "read_4k", clients) for clients in CLIENTS],
        pairs=[pair for pair in PAIRS if "libfuse" not in pair[1]],
        all_subjects=[
            subject
            for subject in subjects(pure=False, environment=WAITING)
            if subject.name.startswith(("aiovfs", "pyfuse3"))
        ],
    )
