#!/usr/bin/env python3
"""What a restart and the journal cost.

usage: benches/restart.py [--rounds N] [--examples N]      (5 100000)

1. A daemon with about a million parameters goes on from a checkpoint, learns 100,000 examples beyond it and is killed. How long
   from the next start of the process to its first prediction, and until the journal is repeated.
2. `replay` of 200,000 examples in batches of 128, with and without `--journal`, in turns: the ratio of their times.
SKEWD names another binary.
"""

import copy
import http.client
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BINARY = os.environ.get("SKEWD", "target/release/skewd")
FEATURES = 30
BLOCK = 10_000
PLAIN = ["learner.batch_size=128", "learner.batch_linger_ms=off"]
LARGE = PLAIN + ["model.hidden=[1000,960]", "checkpoint.every_examples=100000000", "checkpoint.every_seconds=86400"]
SMALL = PLAIN + ["model.hidden=[128,64]"]


def lines(count, seed):
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        rare = generator.random() < 0.01
        values = (generator.gauss(0.5 if rare else 0.0, 1.0) for _ in range(FEATURES))
        fields = ",".join(f'"f{index}":{value:.4f}' for index, value in enumerate(values))
        found.append(f'{{{fields},"label":"{"fraud" if rare else "ok"}"}}')
    return found


def arguments(settings):
    return [part for setting in settings for part in ("--set", setting)]


def replay(path, settings, *more):
    """Seconds of the clock, seconds of processors, and the report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        subprocess.run([BINARY, "replay", path, *more, "--report", report.name, *arguments(settings)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return took, worked, json.load(open(report.name))


class Daemon:
    def __init__(self, folder, settings):
        listen = ["http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", f"data_dir={folder}"]
        self.process = subprocess.Popen([BINARY, "serve", "--log-format", "json", *arguments(listen + settings)],
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            entry = json.loads(line)
            if entry.get("message") == "serving":
                threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()
                self.address = entry["address"]
                self.public = http.client.HTTPConnection(entry["address"])
                self.admin = http.client.HTTPConnection(entry["admin"])
                return
        sys.exit("the daemon did not start")

    def again(self):
        """The same daemon over a connection of its own, for another thread."""
        other = copy.copy(self)
        other.public = http.client.HTTPConnection(self.address)
        return other

    def call(self, method, path, body=None, kind="application/json"):
        self.public.request(method, path, body, {"content-type": kind})
        answer = self.public.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)

    def feed(self, examples):
        for at in range(0, len(examples), BLOCK):
            while self.call("POST", "/v1/examples", "\n".join(examples[at:at + BLOCK]), "application/x-ndjson")[0] != 200:
                time.sleep(0.01)

    def wait_for(self, examples):
        while self.call("GET", "/v1/model")[1]["examples"] < examples:
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()


def restart(folder, examples, rounds):
    history = os.path.join(folder, "history.jsonl")
    open(history, "w").write("\n".join(lines(12_800, 1)))
    data = os.path.join(folder, "large")
    replay(history, LARGE, "--save", data)
    daemon = Daemon(data, LARGE)
    daemon.feed(lines(examples, 2))
    learned = 12_800 + examples // 128 * 128
    daemon.wait_for(learned)
    daemon.kill()
    row = json.dumps({"rows": [[0.1] * FEATURES]})
    firsts, wholes = [], []
    for _ in range(rounds):
        begun = time.monotonic()
        daemon = Daemon(data, LARGE)
        while daemon.call("POST", "/v1/predict", row)[0] != 200:
            time.sleep(0.001)
        firsts.append(time.monotonic() - begun)
        daemon.wait_for(learned)
        wholes.append(time.monotonic() - begun)
        daemon.kill()
    print(f"first prediction after a start from a checkpoint of a million parameters with {examples} examples to repeat: "
          f"median {1e3 * statistics.median(firsts):.0f} ms, largest {1e3 * max(firsts):.0f} ms of {rounds}; "
          f"all repeated after {statistics.median(wholes):.1f} s")


def journal(folder, rounds):
    path = os.path.join(folder, "stream.jsonl")
    examples = lines(200_000, 3)
    open(path, "w").write("\n".join(examples))
    data = os.path.join(folder, "small")
    daemon = Daemon(data, SMALL)
    daemon.feed(examples)
    daemon.wait_for(len(examples) // 128 * 128)
    daemon.process.terminate()
    daemon.process.wait()
    plain, repeated, digests = [], [], set()
    for _ in range(rounds):
        for figures, more in ((plain, []), (repeated, ["--journal", data])):
            took, worked, report = replay(path, SMALL, *more)
            figures.append((took, worked))
            digests.add(report["digest"])
    for index, name in enumerate(("clock", "processors")):
        a, b = ([figure[index] for figure in figures] for figures in (plain, repeated))
        print(f"seconds of the {name}, {rounds} in turns: replay fastest {min(a):.3f}, median {statistics.median(a):.3f}; with "
              f"--journal {min(b):.3f} and {statistics.median(b):.3f}: ratios {min(b) / min(a):.3f} and "
              f"{statistics.median(b) / statistics.median(a):.3f}")
    print(f"digests: {len(digests)}")


def main():
    def option(name, default):
        return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default

    rounds = option("--rounds", 5)
    with tempfile.TemporaryDirectory() as folder:
        journal(folder, rounds)
        restart(folder, option("--examples", 100_000), rounds)


if __name__ == "__main__":
    main()
