"""Vowpal Wabbit: linear models and one hidden layer; with more than two classes, one against all."""

import numpy as np
from vowpalwabbit import Workspace

UNSAFE = str.maketrans({" ": "_", ":": "_", "|": "_"})


def lines(stream, numbers):
    """The features of each row in Vowpal Wabbit's text format."""
    names = [name.translate(UNSAFE) for name in stream.numeric_names]
    texts = [name.translate(UNSAFE) for name in stream.text_names]
    for row, values in zip(numbers.tolist(), stream.texts.tolist()):
        parts = [f"{name}:{value}" for name, value in zip(names, row) if value == value]
        parts += [f"{name}={value.translate(UNSAFE)}" for name, value in zip(texts, values) if value]
        yield " ".join(parts)


def vowpal(options, standardised=False):
    def run(stream, seed):
        classes = len(stream.classes)
        kind = "--link logistic" if classes == 2 else f"--oaa {classes} --probabilities"
        work = Workspace(f"--quiet --loss_function logistic {kind} --random_seed {seed} {options}")
        numbers = stream.standardised() if standardised else stream.numbers
        scores = np.zeros((len(stream), classes), dtype=np.float32)
        for row, (features, label) in enumerate(zip(lines(stream, numbers), stream.labels.tolist())):
            prediction = work.predict(f"| {features}")
            scores[row] = prediction if classes > 2 else (1 - prediction, prediction)
            work.learn(f"{label + 1 if classes > 2 else 2 * label - 1} | {features}")
        work.finish()
        return scores

    return run


RIVALS = {
    "VW linear": {
        "-l .5": vowpal("-l .5"),
        "-l .5, standardised": vowpal("-l .5", standardised=True),
        "-q ::": vowpal("-q ::"),
        "-q ::, standardised": vowpal("-q ::", standardised=True),
    },
    "VW --nn 16": {
        "-l .5": vowpal("--nn 16 -l .5"),
        "-l .1": vowpal("--nn 16 -l .1"),
        "-l .5, standardised": vowpal("--nn 16 -l .5", standardised=True),
        "-l .1, standardised": vowpal("--nn 16 -l .1", standardised=True),
    },
}
