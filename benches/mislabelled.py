#!/usr/bin/env python3
"""How many wrong labels stand among the examples that /v1/hardest keeps because their label is not believed.

usage: benches/mislabelled.py STREAM.csv [--rows 100000] [--flipped 0.01]

A daemon without settings learns the stream by HTTP. A share of the labels, drawn with one seed, is replaced by that of another
class. Every 10,000 rows the list of those that are not believed (`persistent`) is read; at the end it is told how many examples were on it
once, and how many of them had a replaced label. SKEWD names another binary.
"""

import argparse
import csv
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading

BLOCK = 1_000
LOOK_EVERY = 10_000


def start(folder):
    command = [os.environ.get("SKEWD", "target/release/skewd"), "serve", "--log-format", "json"]
    for setting in ("http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", f"data_dir={folder}"):
        command += ["--set", setting]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in daemon.stderr:
        entry = json.loads(line)
        if entry.get("message") == "serving":
            threading.Thread(target=lambda: [None for _ in daemon.stderr], daemon=True).start()
            return daemon, entry["address"]
    sys.exit("the daemon did not start")


def call(connection, method, path, body=None):
    connection.request(method, path, body, {"content-type": "application/x-ndjson"} if body else {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {text[:300]}")
    return json.loads(text)


def number(text):
    try:
        return float(text)
    except ValueError:
        return text or None


def read(path, rows, share):
    """Records as JSON, and the places of those whose label was replaced."""
    generator = random.Random(1)
    with open(path) as lines:
        records = [dict(record) for _, record in zip(range(rows), csv.DictReader(lines))]
    classes = sorted({record["label"] for record in records})
    wrong = set()
    for place, record in enumerate(records):
        if generator.random() < share:
            record["label"] = generator.choice([name for name in classes if name != record["label"]])
            wrong.add(place)
    features = lambda record: {name: number(value) for name, value in record.items() if name != "label"}
    return [json.dumps({**features(record), "label": record["label"]}) for record in records], wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--flipped", type=float, default=0.01)
    asked = parser.parse_args()
    records, wrong = read(asked.stream, asked.rows, asked.flipped)
    listed = set()
    with tempfile.TemporaryDirectory() as folder:
        daemon, address = start(folder)
        connection = http.client.HTTPConnection(address)
        for begin in range(0, len(records), BLOCK):
            answer = call(connection, "POST", "/v1/examples", "\n".join(records[begin : begin + BLOCK]))
            if (begin + BLOCK) % LOOK_EVERY:
                continue
            # A second's linger, and the list is made anew four times a second.
            while call(connection, "GET", "/v1/model").get("examples", 0) < min(begin + BLOCK, len(records)):
                threading.Event().wait(0.1)
            threading.Event().wait(0.6)
            listed |= {example["offset"] for example in call(connection, "GET", "/v1/hardest?limit=1000")["persistent"]}
        daemon.terminate()
        daemon.wait()
    found = len(listed & wrong)
    print(f"{len(wrong)} of {len(records)} labels replaced; {len(listed)} examples listed, {found} of them among those ({found / max(len(listed), 1):.1%})")


if __name__ == "__main__":
    main()
