"""ResMem (Yang et al. 2023): a k-nearest-neighbour memory of what a small model gets wrong, added to its answer.

Values are the model's residuals; `memory.attention(keys, k, kernel="exp_neg_distance", scale=sigma)` is r(x).
"""

import numpy as np
import page


def softmax_regression(images, labels, steps=20, rate=0.5):
    """The base model: full-batch gradient steps from zero. Returns images -> probabilities."""
    weights, bias, wanted = np.zeros((images.shape[1], 10)), np.zeros(10), np.eye(10)[labels]

    def predict(rows):
        logits = rows @ weights + bias
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    for _ in range(steps):
        wrong = (predict(images) - wanted) / len(images)
        weights -= rate * images.T @ wrong
        bias -= rate * wrong.sum(0)
    return predict


def run(client, plot=None):
    images, labels = page.digits()
    images = images / 16
    train, test = np.arange(0, len(images), 2), np.arange(1, len(images), 2)
    base = softmax_regression(images[train], labels[train])
    residuals = np.eye(10)[labels] - base(images)

    def accuracy(scores, rows):
        return float(np.mean(scores.argmax(1) == labels[rows]))

    def memory(name, keys, values):
        made = client.create_memory(f"example-resmem-{name}", keys.shape[1], value="vector", value_dim=10)
        made.insert(keys[train].astype(np.float32), values[train].astype(np.float32), ids=train)
        return made

    def read(made, keys, k):
        how = {"kernel": "exp_neg_distance", "scale": 0.3, "keep_ties": True, "exact": True}
        return made.attention(keys.astype(np.float32), k, **how).outputs

    pooled = images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    means = images.reshape(-1, 8, 8).mean(2)
    of_pooled, of_means = memory("pooled", pooled, residuals), memory("means", means, residuals)
    of_pixels, of_labels = memory("pixels", images, residuals), memory("labels", pooled, np.eye(10)[labels])
    of_labels_by_means = memory("labels-means", means, np.eye(10)[labels])
    return page.show(
        "ResMem on digits, k = 20, sigma = 0.3",
        [
            ("base model", 0.9053, accuracy(base(images[test]), test)),
            ("kNN alone", 0.8931, accuracy(read(of_labels, pooled[test], 20), test)),
            ("ResMem", 0.9243, accuracy(base(images[test]) + read(of_pooled, pooled[test], 20), test)),
            ("kNN alone, poor keys", 0.8129, accuracy(read(of_labels_by_means, means[test], 20), test)),
            ("ResMem, poor keys: worse than the base", 0.8875,
             accuracy(base(images[test]) + read(of_means, means[test], 20), test)),
            ("train accuracy, pixels, k = 1", 1.0,
             accuracy(base(images[train]) + read(of_pixels, images[train], 1), train)),
            ("test accuracy, pixels, k = 1", 0.9866,
             accuracy(base(images[test]) + read(of_pixels, images[test], 1), test)),
        ],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
