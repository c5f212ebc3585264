"""torch: an MLP 64-64 on standardised numbers and one-hot texts, under six losses and three updates."""

import random

import numpy as np
import torch
import torch._dynamo  # torch loads it at the first step; seconds of processor time that are not the model's
from torch import nn
from torch.nn import functional

HIDDEN, CLIP, MEMORY = 64, 1.0, 200
UPDATES = {"momentum .05, 64": (0.05, 64), "momentum .02, 16": (0.02, 16), "Adam .001, 16": (None, 16)}


class Inputs:
    """Numbers by their running mean and deviation, cut at 8 and 0 where missing, beside one column a text."""

    def __init__(self, stream):
        self.numbers = stream.numbers
        columns = [column[:, None] == np.unique(column)[None] for column in stream.texts.T]
        self.texts = np.hstack(columns).astype(np.float32) if columns else np.zeros((len(stream), 0), dtype=np.float32)
        width = self.numbers.shape[1]
        self.count, self.sum, self.squares = np.zeros(width), np.zeros(width), np.zeros(width)
        self.first = np.nan_to_num(self.numbers[0])
        self.width = width + self.texts.shape[1]

    def see(self, rows):
        """Takes the rows into the moments."""
        known = ~np.isnan(self.numbers[rows])
        shifted = np.where(known, self.numbers[rows] - self.first, 0.0)
        self.count += known.sum(0)
        self.sum += shifted.sum(0)
        self.squares += (shifted**2).sum(0)

    def of(self, rows):
        count = np.maximum(self.count, 1)
        mean = self.sum / count
        deviation = np.sqrt(np.maximum(self.squares / count - mean**2, 0))
        deviation[deviation < 1e-12] = np.inf
        standard = np.nan_to_num((self.numbers[rows] - self.first - mean) / deviation).clip(-8, 8)
        return torch.from_numpy(np.hstack([standard.astype(np.float32), self.texts[rows]]))


def loss_of(kind, logits, target, counts):
    """The mean loss of a batch; `counts` are the examples of each class so far."""
    if kind == "focal":
        cross_entropy = functional.cross_entropy(logits, target, reduction="none")
        return ((1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy).mean()
    if kind == "class weights":
        weights = (1 - 0.9999) / (1 - 0.9999**counts)
        return functional.cross_entropy(logits, target, weight=weights)
    if kind == "LDAM":
        margins = 0.5 * (counts.min() / counts) ** 0.25
        return functional.cross_entropy(logits - margins * functional.one_hot(target, len(counts)), target)
    if kind == "logit adjustment":
        return functional.cross_entropy(logits + torch.log(counts / counts.sum()), target)
    return functional.cross_entropy(logits, target)


class Rehearsal:
    """Up to 200 rows of each class, every row of the class equally likely to be among them."""

    def __init__(self, classes, seed):
        self.kept, self.seen = [[] for _ in range(classes)], [0] * classes
        self.random = random.Random(seed)

    def keep(self, row, label):
        self.seen[label] += 1
        kept = self.kept[label]
        if len(kept) < MEMORY:
            kept.append(row)
        elif (place := self.random.randrange(self.seen[label])) < MEMORY:
            kept[place] = row

    def draw(self, count):
        present = [kept for kept in self.kept if kept]
        return [self.random.choice(self.random.choice(present)) for _ in range(count)]


def multilayer(kind, rate, batch):
    def run(stream, seed):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        inputs, classes = Inputs(stream), len(stream.classes)
        model = nn.Sequential(
            nn.Linear(inputs.width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
        )
        if rate is None:
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.0)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        labels, counts = torch.from_numpy(stream.labels), np.ones(classes)
        memory = Rehearsal(classes, seed) if kind == "rehearsal" else None
        scores = np.zeros((len(stream), classes), dtype=np.float32)
        for start in range(0, len(stream), batch):
            rows = list(range(start, min(start + batch, len(stream))))
            inputs.see(rows)
            with torch.no_grad():
                scores[rows] = functional.softmax(model(inputs.of(rows)), 1).numpy()
            counts += np.bincount(stream.labels[rows], minlength=classes)
            again = memory.draw(batch // 4) if memory and start else []
            optimizer.zero_grad()
            logits = model(inputs.of(rows + again))
            loss_of(kind, logits, labels[rows + again], torch.from_numpy(counts).float()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            if memory:
                for row in rows:
                    memory.keep(row, int(stream.labels[row]))
        return scores

    return run


RIVALS = {
    f"torch {kind}": {name: multilayer(kind, rate, batch) for name, (rate, batch) in UPDATES.items()}
    for kind in ("cross-entropy", "focal", "class weights", "LDAM", "logit adjustment", "rehearsal")
}
