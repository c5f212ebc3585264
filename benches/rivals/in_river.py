"""River: an adaptive random forest, and logistic regression as it is, undersampled and boosted."""

import numpy as np
from river import compose, ensemble, forest, imblearn, linear_model, optim, preprocessing


def prequential(model, stream):
    """Each row is predicted, then learned."""
    scores = np.zeros((len(stream), len(stream.classes)), dtype=np.float32)
    for row, (record, label) in enumerate(zip(stream.records(), stream.labels.tolist())):
        for index, chance in model.predict_proba_one(record).items():
            # Of two classes the keys may be False and True, which numpy would take for masks.
            scores[row, int(index)] = chance
        model.learn_one(record, label)
    return scores


def linear(stream, rate):
    """Logistic regression with two classes, softmax regression with more."""
    if len(stream.classes) == 2:
        return linear_model.LogisticRegression(optimizer=optim.SGD(rate))
    return linear_model.SoftmaxRegression(optimizer=optim.SGD(rate))


def prepared(stream, model):
    """Standardised numbers and one-hot texts before the model."""
    numbers = compose.SelectType(int, float) | preprocessing.StandardScaler()
    if not stream.text_names:
        return numbers | model
    return (numbers + (compose.SelectType(str) | preprocessing.OneHotEncoder())) | model


def logistic(rate):
    return lambda stream, _seed: prequential(prepared(stream, linear(stream, rate)), stream)


def undersampled(rate):
    def run(stream, seed):
        even = {index: 1 / len(stream.classes) for index in range(len(stream.classes))}
        model = imblearn.RandomUnderSampler(linear(stream, rate), desired_dist=even, seed=seed)
        return prequential(prepared(stream, model), stream)

    return run


def boosted(rate):
    def run(stream, seed):
        model = ensemble.AdaBoostClassifier(linear(stream, rate), n_models=5, seed=seed)
        return prequential(prepared(stream, model), stream)

    return run


def random_forest(stream, seed):
    return prequential(forest.ARFClassifier(n_models=10, seed=seed), stream)


RIVALS = {
    "River forest": {"10 trees": random_forest},
    "River logistic": {
        "rate .01": logistic(0.01),
        "rate .1": logistic(0.1),
        "undersampled, rate .01": undersampled(0.01),
        "undersampled, rate .1": undersampled(0.1),
        "boosted, rate .1": boosted(0.1),
    },
}
