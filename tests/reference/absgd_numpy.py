#!/usr/bin/env python3
"""Algorithm 1 of ABSGD in numpy, float64: an oracle for the whole learning path of skewd.

What it computes is what `skewd replay` learns with

    model.kind=linear  schema.encoding=raw  learner.weight_cap=off  learner.clip_norm=off
    learner.rehearsal_rows=0  learner.normalizer_start=debias  learner.momentum_form=torch

that is softmax regression from zero, over a CSV file whose last column is the label:

- Batches of --batch rows in file order; each is predicted with the parameters before it, then learned. The rows
  after the last full batch are predicted but not learned.
- Classes are those of --classes, or are discovered in order of first appearance. A class joins after the batch that
  brought it was predicted and before it is learned: its row starts at zero, and the losses that are weighed and learned
  come from a second forward pass of the model that already has it. The loss of a class that is not known, -ln 1e-6,
  belongs to the evaluation of that prediction alone and is learned from nowhere (--losses writes it).
- Weights: g = mean exp(L/lambda), s = (1-gamma_t) s + gamma_t g with gamma_t = gamma / (1 - (1-gamma)^t),
  p = exp(L/lambda) / s, all in the log domain; the gradient is that of (1/B) sum p_i L_i with p constant.
- Update: V = momentum V + (G + weight_decay W), W -= lr V, for weights and biases; V of a new class is zero.

The output is a CSV `row,label,class,weight,p_<class>...`: the predicted class (empty while no class is known; the first
of equals), the weight p_i of the row in its step (empty in the tail), and a probability a class (empty = not known then).

    absgd_numpy.py --make-data data.csv
    absgd_numpy.py data.csv --out predictions.csv --lam 2 --gamma 0.1 --lr 0.05 --momentum 0.9 \\
        --weight-decay 1e-4 --batch 16
"""

import argparse
import csv
import math
import sys

import numpy as np

UNKNOWN_CLASS_LOSS = -math.log(1e-6)


def log_sum_exp(values, axis=None):
    highest = np.max(values, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(values - highest), axis=axis, keepdims=True)) + highest
    return total if axis is not None else float(total.reshape(()))


class Learner:
    """Softmax regression under ABSGD."""

    def __init__(self, inputs, arguments):
        self.weight = np.zeros((0, inputs))
        self.bias = np.zeros(0)
        self.weight_velocity = np.zeros((0, inputs))
        self.bias_velocity = np.zeros(0)
        self.log_s = -math.inf
        self.steps = 0
        self.arguments = arguments

    def add_class(self):
        inputs = self.weight.shape[1]
        self.weight = np.vstack([self.weight, np.zeros((1, inputs))])
        self.weight_velocity = np.vstack([self.weight_velocity, np.zeros((1, inputs))])
        self.bias = np.append(self.bias, 0.0)
        self.bias_velocity = np.append(self.bias_velocity, 0.0)

    def log_probabilities(self, x):
        logits = x @ self.weight.T + self.bias
        if logits.shape[1] == 0:
            return logits
        return logits - log_sum_exp(logits, axis=1)

    def weigh(self, losses):
        """The weights of a batch; moves the normaliser."""
        lam, gamma = self.arguments.lam, self.arguments.gamma
        self.steps += 1
        if math.isinf(lam):
            return np.ones(len(losses))  # with a debiased start s is 1 at every step
        gamma_t = min(1.0, gamma / (1.0 - (1.0 - gamma) ** self.steps))
        tilt = losses / lam
        log_g = log_sum_exp(tilt) - math.log(len(losses))
        if gamma_t == 1.0:
            self.log_s = log_g
        else:
            self.log_s = float(np.logaddexp(math.log1p(-gamma_t) + self.log_s, math.log(gamma_t) + log_g))
        return np.exp(tilt - self.log_s)

    def learn(self, x, y):
        """One step; gives the weights."""
        log_p = self.log_probabilities(x)
        rows = np.arange(len(y))
        weights = self.weigh(-log_p[rows, y])
        dz = np.exp(log_p)
        dz[rows, y] -= 1.0
        dz *= weights[:, None] / len(y)
        a = self.arguments
        weight_gradient = dz.T @ x + a.weight_decay * self.weight
        bias_gradient = dz.sum(axis=0) + a.weight_decay * self.bias
        self.weight_velocity = a.momentum * self.weight_velocity + weight_gradient
        self.bias_velocity = a.momentum * self.bias_velocity + bias_gradient
        self.weight = self.weight - a.lr * self.weight_velocity
        self.bias = self.bias - a.lr * self.bias_velocity
        return weights


def run(x, labels, classes, arguments):
    """Predicts and learns the stream; gives the class names and one output row an example."""
    classes = list(classes)
    fixed = bool(classes)
    learner = Learner(x.shape[1], arguments)
    for _ in classes:
        learner.add_class()
    out = []
    for begin in range(0, len(labels), arguments.batch):
        end = min(begin + arguments.batch, len(labels))
        batch_x, batch_labels = x[begin:end], labels[begin:end]
        log_p = learner.log_probabilities(batch_x)
        known = len(classes)
        for i, label in enumerate(batch_labels):
            best = classes[int(np.argmax(log_p[i]))] if known else ""
            loss = -log_p[i][classes.index(label)] if label in classes[:known] else UNKNOWN_CLASS_LOSS
            out.append({"row": begin + i, "label": label, "class": best, "weight": "", "loss": loss,
                        "p": np.exp(log_p[i])})
        if end - begin < arguments.batch:
            break
        for label in batch_labels:
            if label not in classes:
                if fixed:
                    sys.exit(f"row with label {label!r}, which is not in --classes")
                classes.append(label)
                learner.add_class()
        weights = learner.learn(batch_x, np.array([classes.index(label) for label in batch_labels]))
        for i, weight in enumerate(weights):
            out[begin + i]["weight"] = repr(float(weight))
    # a label that only the unlearned tail has is a class of the run all the same, never known to the model
    for label in labels:
        if label not in classes:
            classes.append(label)
    return classes, out


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    # features are 32-bit in the daemon: what a decimal rounds to there is what is learned
    x = np.array([[float(np.float32(value)) for value in row[:-1]] for row in rows], dtype=np.float64)
    return x, [row[-1] for row in rows]


def write(path, classes, out, with_loss):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        extra = ["loss"] if with_loss else []
        writer.writerow(["row", "label", "class", "weight", *extra, *(f"p_{name}" for name in classes)])
        for line in out:
            p = [repr(float(value)) for value in line["p"]]
            p += [""] * (len(classes) - len(p))
            extra = [repr(float(line["loss"]))] if with_loss else []
            writer.writerow([line["row"], line["label"], line["class"], line["weight"], *extra, *p])


def make_data(path):
    """300 rows, 4 features, 3 classes of about 80, 15 and 5 percent, the rarest from row 40 on."""
    state = 20210613

    def uniform():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 11) / 2**53

    centres = {"normal": (0.0, 0.0, 0.0, 0.0), "slow": (1.5, -0.5, 0.0, 0.5), "fraud": (-1.0, 2.0, 1.0, -0.5)}
    with open(path, "w", newline="") as file:
        file.write("a,b,c,d,label\n")
        for row in range(300):
            draw = uniform()
            label = "fraud" if draw < 0.05 and row >= 40 else "slow" if draw < 0.2 else "normal"
            # the sum of three uniforms is round enough
            values = (centre + 1.2 * (uniform() + uniform() + uniform() - 1.5) for centre in centres[label])
            file.write(",".join(f"{value:.4f}" for value in values) + f",{label}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="CSV: features, then the label; with a header")
    parser.add_argument("--out", help="predictions CSV")
    parser.add_argument("--make-data", metavar="CSV", help="write the small data set and stop")
    parser.add_argument("--classes", default="", help="comma-separated; discovered when empty")
    parser.add_argument("--lam", type=float, default=5.0, help="lambda; inf = plain SGD")
    parser.add_argument("--gamma", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--losses", action="store_true", help="add the loss of every prediction as a column")
    arguments = parser.parse_args()
    if arguments.make_data:
        make_data(arguments.make_data)
        return
    if not arguments.data or not arguments.out:
        parser.error("give a data file and --out, or --make-data")
    x, labels = read(arguments.data)
    classes = [name for name in arguments.classes.split(",") if name]
    classes, out = run(x, labels, classes, arguments)
    write(arguments.out, classes, out, arguments.losses)


if __name__ == "__main__":
    main()
