"""Disk reads where io_uring is forbidden, as in containers: our two engines beside what other libraries fall back to.

    python -m benchmarks.aio_fallback --quick
    python -m benchmarks.aio_fallback --output benchmarks/results/aio_fallback-NAME.json

Every process runs under a seccomp filter that answers EPERM to io_uring's system calls (`aiovfs.testing.forbidden`).
"""

from __future__ import annotations

import errno
import sys

from benchmarks.aio_frame import Case, Library, arguments, ratios, run

LIBRARIES = (
    Library("aiovfs linux", "aiovfs:linux"),
    Library("aiovfs pool", "aiovfs:pool"),
    Library("caio", "caio", "caio"),
    Library("caio thread", "caio:thread_aio", "caio"),
    Library("py-asyncfiles", "asyncfiles", "asyncfiles"),
    Library("ayafileio", "ayafileio", "ayafileio"),
    Library("aiofiles", "aiofiles", "aiofiles"),
)
CASES = (
    Case("cached QD1", "cached", 1),
    Case("cached QD64", "cached", 64),
    Case("cold QD1", "cold", 1),
    Case("cold QD64", "cold", 64),
    Case("cached QD32 with a timer", "timer", 32),
)


def main() -> None:
    """Parse, measure, print, save."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    if options.quick:
        options.repeats, options.seconds, options.size = 1, 0.2, 64
    forbidden = [sys.executable, "-m", "aiovfs.testing.forbidden", str(errno.EPERM)]
    results = run("aio_fallback", options, LIBRARIES, CASES, prefix=forbidden)
    print("\nthousand reads a second · CPU µs a read; medians\n")
    print(results.table(["k_ops", "cpu_us"], cases=[case.name for case in CASES]))
    print("\nhow late a timer of 1 ms is, ms: p50 · p99, and how often it ran\n")
    print(results.table(["late_p50_ms", "late_p99_ms", "ticks"], cases=["cached QD32 with a timer"]))
    rivals = [library.name for library in LIBRARIES[2:]]
    print("\n" + ratios(results, "aiovfs linux", {case.name: rivals for case in CASES[:4]}))
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
