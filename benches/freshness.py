#!/usr/bin/env python3
"""How long after a record was sent a prediction knows it.

usage: benches/freshness.py [--records N] [--rate R] [--linger MS]      (500 500 20)

Sends single records at a rate (exponential gaps), and asks for a prediction that has learned up to each (`min_offset`, `wait_ms`):
the time from the beginning of the first request to the end of the second. Learning waits at most `learner.batch_linger_ms`
for a batch to fill, so that is what a record on a quiet stream waits; what comes on top is skewd's. SKEWD names another binary.
"""

import argparse
import json
import random
import tempfile
import threading
import time

from restart import Daemon, FEATURES, lines


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def caller(daemon, records, began, took):
    """One thread: sends a record at its time, and waits until a prediction has learned it."""
    for at, record in records:
        time.sleep(max(0.0, began + at - time.monotonic()))
        sent = time.monotonic()
        status, answer = daemon.call("POST", "/v1/examples", record, "application/x-ndjson")
        assert status == 200, answer
        ask = {"rows": [[0.1] * FEATURES], "min_offset": {"0": answer["next_offset"]}, "wait_ms": 9000}
        status, answer = daemon.call("POST", "/v1/predict", json.dumps(ask))
        assert status == 200, answer
        took.append(1000 * (time.monotonic() - sent))


def measure(records, rate, linger, callers=16):
    """The median and the 99th percentile, in milliseconds."""
    random.seed(7)
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(folder, [f"learner.batch_linger_ms={linger}", "schema.discover_records=500"])
        daemon.feed(lines(2000, 3))
        daemon.wait_for(2000)
        at, plan = 0.0, [[] for _ in range(callers)]
        for number, record in enumerate(lines(records, 4)):
            at += random.expovariate(rate)
            plan[number % callers].append((at, record))
        took, began = [], time.monotonic() + 0.1
        threads = [
            threading.Thread(target=caller, args=(daemon.again(), part, began, took)) for part in plan
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        daemon.kill()
    assert len(took) == records
    return percentile(took, 0.5), percentile(took, 0.99)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--linger", type=int, default=20)
    options = parser.parse_args()
    median, late = measure(options.records, options.rate, options.linger)
    print(f"record sent to prediction that knows it: median {median:.1f} ms, 99th percentile {late:.1f} ms; "
          f"batch_linger_ms = {options.linger}, so {late - options.linger:.1f} ms on top")


if __name__ == "__main__":
    main()
