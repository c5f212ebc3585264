"""The streams as arrays, and the figure that a replay's report calls `windowed.pr_auc_rare`."""

import csv

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

WINDOWS, MINIMUM, RARE_SHARE = 10, 5, 0.05


class Stream:
    """One recorded stream: numbers with NaN where one is missing, texts, and class indices in the order the classes joined."""

    def __init__(self, path, limit):
        table = pd.read_csv(path, nrows=limit)
        names = table.pop("label").astype(str)
        self.labels, classes = pd.factorize(names)
        self.classes = list(classes)
        numeric = table.select_dtypes("number").columns
        self.numeric_names = list(numeric)
        self.numbers = table[self.numeric_names].to_numpy(dtype=np.float64)
        self.text_names = [name for name in table.columns if name not in numeric]
        self.texts = table[self.text_names].fillna("").astype(str).to_numpy()

    def __len__(self):
        return len(self.labels)

    def standardised(self):
        """The numbers by the mean and deviation of the rows so far, their own included; NaN stays NaN."""
        known = ~np.isnan(self.numbers)
        shifted = np.where(known, self.numbers - np.nan_to_num(self.numbers[0]), 0.0)
        count = np.maximum(known.cumsum(0), 1)
        mean = shifted.cumsum(0) / count
        deviation = np.sqrt(np.maximum((shifted**2).cumsum(0) / count - mean**2, 0))
        deviation[deviation < 1e-9] = np.inf
        return np.where(known, (shifted - mean) / deviation, np.nan).clip(-8, 8)

    def records(self):
        """One dictionary a row, without what is missing."""
        for numbers, texts in zip(self.numbers.tolist(), self.texts.tolist()):
            record = {name: value for name, value in zip(self.numeric_names, numbers) if value == value}
            record.update((name, text) for name, text in zip(self.text_names, texts) if text)
            yield record


def rare_classes(counts):
    """The smaller of two classes; of more, those below 5 % of the examples, or the smallest where none is."""
    present = [index for index, count in enumerate(counts) if count]
    below = [index for index in present if counts[index] < RARE_SHARE * sum(counts)]
    if len(present) == 2 or not below:
        return [min(present, key=lambda index: (counts[index], -index))]
    return below


def windowed_pr_auc_rare(labels, scores):
    """Mean over ten equal windows of the mean average precision of the rare classes with five examples in the window."""
    classes = scores.shape[1]
    scores = np.nan_to_num(scores.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    rare = rare_classes(np.bincount(labels, minlength=classes).tolist())
    bounds = [window * len(labels) // WINDOWS for window in range(WINDOWS + 1)]
    windows = []
    for start, end in zip(bounds, bounds[1:]):
        precisions = []
        for index in rare:
            mine = labels[start:end] == index
            if MINIMUM <= mine.sum() < end - start:
                precisions.append(average_precision_score(mine, scores[start:end, index]))
        if precisions:
            windows.append(np.mean(precisions))
    return float(np.mean(windows))


def written(path, stream):
    """The scores that a replay wrote for what it served, by the stream's class indices."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows)
        columns = [header.index(f"p_{name}") for name in stream.classes]
        scores = [[row[column] or 0 for column in columns] for row in rows if row[1] == "served"]
    return np.array(scores, dtype=np.float32)
