"""MemAE (Gong et al. 2019): an image is rebuilt from a memory of normal ones; what rebuilds badly is an anomaly.

`memory.attention(images, shrink=lambda)` weighs every slot, drops the weights below lambda, and sums the slots.
"""

import numpy as np
import page

SLOTS = 20


def auc(normal, odd):
    """The chance that an odd one scores above a normal one; ties count half."""
    ranks = (odd[:, None] > normal[None]).mean() + 0.5 * (odd[:, None] == normal[None]).mean()
    return float(ranks)


def run(client, plot=None):
    images, labels = page.digits()
    images = (images / 16).astype(np.float32)
    train, test = np.arange(0, len(images), 2), np.arange(1, len(images), 2)
    shrinkages, curves = (0.0, 1 / SLOTS, 3 / SLOTS), {}
    for metric in ("ip", "cosine"):
        memory = client.create_memory(f"example-memae-{metric}", 64, metric=metric, value="vector", value_dim=64)
        for digit in range(10):  # the slots of each class are a partition
            rows = train[labels[train] == digit]
            slots = images[rows[np.arange(SLOTS) * len(rows) // SLOTS]]
            memory.insert(slots, slots, ids=np.arange(SLOTS), partition=digit)
        for shrink in shrinkages:
            aucs, active, zeros = [], [], 0
            for digit in range(10):
                got = memory.attention(images[test], shrink=shrink, partitions=digit)
                errors = ((images[test] - got.outputs) ** 2).sum(1)
                normal = labels[test] == digit
                aucs.append(auc(errors[normal], errors[~normal]))
                active.append(got.active.mean())
                zeros += int(got.all_zero.sum())
            curves[metric, shrink] = float(np.mean(aucs)), float(np.mean(active)), zeros
    published = {
        ("ip", 0.0): (0.9823, 20.0, 0), ("ip", 1 / SLOTS): (0.9822, 6.29, 0), ("ip", 3 / SLOTS): (0.9547, None, 870),
        ("cosine", 0.0): (0.9625, 20.0, 0), ("cosine", 1 / SLOTS): (0.9803, 10.2, 0),
        ("cosine", 3 / SLOTS): (0.4993, 0.0, 8980),
    }
    rows = []
    for (metric, shrink), (area, active, zeros) in curves.items():
        name = f"{metric}, lambda {shrink:.2f}"
        wanted = published[metric, shrink]
        rows += [(f"{name}: mean AUC", wanted[0], area), (f"{name}: active slots", wanted[1], active),
                 (f"{name}: all-zero rows", wanted[2], zeros)]
    return page.show("MemAE on digits, one class normal, 20 slots", rows)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
