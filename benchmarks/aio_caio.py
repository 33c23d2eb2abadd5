"""caio's interface on ours beside caio itself, implementation by implementation, and beside our own interface.

    python -m benchmarks.aio_caio --quick
    python -m benchmarks.aio_caio --output benchmarks/results/aio_caio-NAME.json

The same program, `AsyncioContext.read`, with either package; `aiovfs` is the engine's own `read`.
"""

from __future__ import annotations

from benchmarks.aio_frame import Case, Library, arguments, ratios, run

IMPLEMENTATIONS = ("linux_uring", "linux_aio", "thread_aio", "python_aio")
LIBRARIES = (
    Library("aiovfs", "aiovfs:uring"),
    *(Library(f"ours {name}", f"compat:{name}") for name in IMPLEMENTATIONS),
    *(Library(f"caio {name}", f"caio:{name}", "caio") for name in IMPLEMENTATIONS),
)
CASES = (
    Case("cached QD1", "cached", 1),
    Case("cached QD64", "cached", 64),
    Case("cold QD64", "cold", 64),
    Case("cached QD32 with a timer", "timer", 32),
)


def main() -> None:
    """Parse, measure, print, save."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    if options.quick:
        options.repeats, options.seconds, options.size = 1, 0.2, 64
    results = run("aio_caio", options, LIBRARIES, CASES)
    print("\nthousand reads a second · CPU µs a read; medians\n")
    print(results.table(["k_ops", "cpu_us"], cases=[case.name for case in CASES]))
    print("\nhow late a timer of 1 ms is, ms: p50 · p99, and how often it ran\n")
    print(results.table(["late_p50_ms", "late_p99_ms", "ticks"], cases=["cached QD32 with a timer"]))
    for name in IMPLEMENTATIONS:
        print("\n" + ratios(results, f"ours {name}", {case.name: [f"caio {name}"] for case in CASES[:3]}))
    print("\n" + ratios(results, "ours linux_uring", {case.name: ["aiovfs"] for case in CASES[:3]}))
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
