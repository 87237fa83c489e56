"""MemAE (Gong et al. 2019): an image is rebuilt from a memory of normal ones; what rebuilds badly is an anomaly.

`memory.attention(images, shrink=lambda)` weighs every slot, drops the weights below lambda, and sums the slots.
"""

import numpy as np
import page

SLOTS, MEANS, SHRINKAGES = 20, 50, (0, 1, 3)  # lambda in units of 1 / slots


def auc(normal, odd):
    """The chance that an odd one scores above a normal one; ties count half."""
    ranks = (odd[:, None] > normal[None]).mean() + 0.5 * (odd[:, None] == normal[None]).mean()
    return float(ranks)


def means_of(rows, count):
    """k-means (Lloyd), from evenly spaced rows."""
    means = rows[np.arange(count) * len(rows) // count]
    for _ in range(20):
        nearest = ((rows[:, None] - means[None]) ** 2).sum(2).argmin(1)
        means = np.stack([rows[nearest == i].mean(0) if (nearest == i).any() else means[i] for i in range(count)])
    return means


def run(client, plot=None):
    images, labels = page.digits()
    images = (images / 16).astype(np.float32)
    train, test = np.arange(0, len(images), 2), np.arange(1, len(images), 2)
    own = [train[labels[train] == digit] for digit in range(10)]
    spaced = [images[rows[np.arange(SLOTS) * len(rows) // SLOTS]] for rows in own]
    means = [means_of(images[rows], MEANS) for rows in own]

    def memory(name, metric, slots):
        made = client.create_memory(f"example-memae-{name}", 64, metric=metric, value="vector", value_dim=64)
        for digit, rows in enumerate(slots):  # the slots of each class are a partition
            made.insert(rows, rows, ids=np.arange(len(rows)), partition=digit)
        return made

    def measure(made, shrink, temperature):
        aucs, active, zeros = [], [], 0
        for digit in range(10):
            got = made.attention(images[test], shrink=shrink, scale=temperature, partitions=digit)
            errors = ((images[test] - got.outputs) ** 2).sum(1)
            normal = labels[test] == digit
            aucs.append(auc(errors[normal], errors[~normal]))
            active.append(got.active.mean())
            zeros += int(got.all_zero.sum())
        return float(np.mean(aucs)), float(np.mean(active)), zeros

    ip, cosine = memory("ip", "ip", spaced), memory("cosine", "cosine", spaced)
    settings = (
        ("ip", ip, SLOTS, 1.0, ((0.9823, 20.0, 0), (0.9822, 6.29, 0), (0.9547, None, 870))),
        ("cosine", cosine, SLOTS, 1.0, ((0.9625, 20.0, 0), (0.9803, 10.2, 0), (0.4993, 0.0, 8980))),
        ("cosine, T 1/50", cosine, SLOTS, 0.02, ((0.9872, None, None), (0.9869, None, None), (0.9824, None, None))),
        ("ip, 50 means", memory("means", "ip", means), MEANS, 1.0,
         ((0.9898, None, None), (0.9914, None, None), (0.9925, None, None))),
    )
    shown = []
    for name, made, slots, temperature, published in settings:
        for shrink, wanted in zip(SHRINKAGES, published):
            got, here = measure(made, shrink / slots, temperature), f"{name}, lambda {shrink}/{slots}"
            what = (f"{here}: mean AUC", f"{here}: active slots", f"{here}: all-zero rows")
            shown += [row for row in zip(what, wanted, got) if row[1] is not None]
    return page.show("MemAE on digits, one class normal, 20 slots", shown)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
