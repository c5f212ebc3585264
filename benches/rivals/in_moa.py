"""Forests of ten trees in CapyMOA, which runs MOA on a JVM."""

import numpy as np


def forest(name):
    def run(stream, seed):
        # A JVM starts with this import, so only the process that needs one has it.
        from capymoa import classifier
        from capymoa.core import LabeledInstance
        from capymoa.stream import Schema

        texts = [sorted(set(column)) for column in stream.texts.T.tolist()]
        categories = {column: values for column, values in zip(stream.text_names, texts)}
        categories["label"] = [str(index) for index in range(len(stream.classes))]
        features = [*stream.numeric_names, *stream.text_names, "label"]
        schema = Schema.from_custom(features=features, target="label", categories=categories, name="stream")
        places = [{value: place for place, value in enumerate(values)} for values in texts]
        coded = [[place[value] for place, value in zip(places, row)] for row in stream.texts.tolist()]
        rows = np.hstack([stream.numbers, np.array(coded, dtype=np.float64).reshape(len(stream), -1)])
        model = getattr(classifier, name)(schema=schema, random_seed=seed, ensemble_size=10)
        scores = np.zeros((len(stream), len(stream.classes)), dtype=np.float32)
        for row, label in enumerate(stream.labels.tolist()):
            instance = LabeledInstance.from_array(schema, rows[row], label)
            chances = model.predict_proba(instance)
            if chances is not None:
                scores[row] = chances
            model.train(instance)
        return scores

    return run


RIVALS = {
    "CapyMOA forests": {
        "adaptive random forest": forest("AdaptiveRandomForestClassifier"),
        "streaming random patches": forest("StreamingRandomPatches"),
        "leveraging bagging": forest("LeveragingBagging"),
    }
}
