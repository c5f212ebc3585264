#!/usr/bin/env python3
"""Resident memory of a daemon over a long run, at equal points.

usage: benches/memory.py [RECORDS] [CHECKPOINTS] [RECONNECTS]      (2000000 200 50)

Feeds a daemon RECORDS examples over HTTP, one in a hundred of them bad, orders CHECKPOINTS checkpoints at equal distances, and
closes and opens its connections RECONNECTS times. After every twentieth of the records it waits until all are learned and a
checkpoint is written, and reads the resident memory. SKEWD names another binary.
"""

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

POINTS = 20
FEATURES = 10


def start(folder):
    command = [os.environ.get("SKEWD", "target/release/skewd"), "serve", "--log-format", "json"]
    for setting in ("http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", f"data_dir={folder}",
                    "source.retention_bytes=33554432", "checkpoint.journal_bytes=1048576"):
        command += ["--set", setting]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in daemon.stderr:
        entry = json.loads(line)
        if entry.get("message") == "serving":
            threading.Thread(target=lambda: [None for _ in daemon.stderr], daemon=True).start()
            return daemon, entry["address"], entry["admin"]
    sys.exit("the daemon did not start")


def resident(pid):
    """Resident memory in KiB."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def block(size, generator):
    """Lines of examples; their text repeats from block to block, so that the feeder is quick."""
    lines = []
    for row in range(size):
        rare = generator.random() < 0.02
        values = [generator.gauss(1.0 if rare else 0.0, 1.0) for _ in range(FEATURES)]
        fields = ",".join(f'"f{index}":{value:.4f}' for index, value in enumerate(values))
        lines.append("bad" if row % 100 == 99 else f'{{{fields},"label":"{"rare" if rare else "ok"}"}}')
    return "\n".join(lines)


def call(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else None


def main():
    given = [int(value) for value in sys.argv[1:]]
    records, checkpoints, reconnects = given + [2_000_000, 200, 50][len(given):]
    generator = random.Random(1)
    step = max(1, records // checkpoints)
    blocks = [block(step, generator) for _ in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        daemon, address, admin = start(folder)
        token = open(os.path.join(folder, "admin.token")).read().strip()
        order = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        public, orders = http.client.HTTPConnection(address), http.client.HTTPConnection(admin)
        figures = []
        rounds = records // step
        for turn in range(1, rounds + 1):
            while call(public, "POST", "/v1/examples", blocks[turn % 4], {"content-type": "application/x-ndjson"})[0] != 200:
                pass
            call(public, "POST", "/v1/predict", json.dumps({"rows": [[0.0] * FEATURES] * 20}), {"content-type": "application/json"})
            good = turn * (step - step // 100)
            # The last batch is not full: it waits for the next block.
            while call(public, "GET", "/v1/model")[1]["examples"] < good - 64:
                time.sleep(0.005)
            call(orders, "POST", "/v1/checkpoint", "", order)
            if turn * reconnects // rounds != (turn - 1) * reconnects // rounds:
                public.close()
                orders.close()
                public, orders = http.client.HTTPConnection(address), http.client.HTTPConnection(admin)
            if turn * POINTS // rounds != (turn - 1) * POINTS // rounds:
                figures.append((turn * step, resident(daemon.pid)))
                print(f"{turn * step:>9} records  {figures[-1][1] / 1024:7.2f} MiB", flush=True)
        daemon.terminate()
        daemon.wait()
        half = figures[len(figures) // 2][1]
        last = figures[-1][1]
        print(f"second half: {(last - half) / 1024:+.2f} MiB ({100 * (last - half) / half:+.2f} %)")


if __name__ == "__main__":
    main()
