#!/usr/bin/env python3
"""Records a second of CPU that orjson parses, of the files of `cargo bench --bench stages -- --write FOLDER`.

Usage: python3 benches/stages_orjson.py FILE.jsonl … [--rounds 40]
Needs orjson. The best of the rounds counts, as in the benchmark.
"""
import argparse
import time

import orjson


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    for path in options.files:
        with open(path, "rb") as file:
            lines = file.read().splitlines()[:4000]
        best = float("inf")
        for _ in range(options.rounds):
            begun = time.process_time()
            for line in lines:
                orjson.loads(line)
            best = min(best, time.process_time() - begun)
        print(f"orjson {orjson.__version__}: {path}: {best / len(lines) * 1e9:.1f} ns, {len(lines) / best:.0f} records a CPU-second")


if __name__ == "__main__":
    main()
