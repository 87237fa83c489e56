"""Learning to Remember Rare Events (Kaiser et al. 2017): a memory that learns one digit after the other as it comes.

`memory.remember(image, label)` answers with the nearest slot's value, then merges or replaces. Raw pixels are the keys.
"""

import numpy as np
import page


def stream(client, slots, images, labels):
    """Predicts, then learns, each image. Returns which predictions were right, and the slots used."""
    memory = client.create_memory(
        f"example-rare-{slots}", images.shape[1], metric="cosine", value="bytes", capacity=slots
    )
    right = np.array([
        memory.remember(image, [label], durability="written").correct[0] for image, label in zip(images, labels)
    ])
    return right, memory.count()


def run(client, plot=None):
    images, labels = page.digits()
    images, labels = images.astype(np.float32), labels + 1
    seen = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    rows = []
    for slots, published in ((10, 0.8242), (50, 0.9544), (200, 0.9549)):
        right, used = stream(client, slots, images, labels)
        rows.append((f"{slots} slots", published, float(right.mean())))
    rows.append(("200 slots: slots used", 81, used))
    for name, low, high, published in (("0 times", 0, 0, 0.0), ("once", 1, 1, 0.6), ("2 to 4 times", 2, 4, 0.967),
                                       ("100 times or more", 100, 10**6, 0.969)):
        which = (seen >= low) & (seen <= high)
        rows.append((f"200 slots, label seen {name}", published, float(right[which].mean())))
    if plot:
        pyplot = page.pyplot()
        pyplot.plot(np.convolve(right, np.ones(50) / 50, "valid"))
        pyplot.xlabel("images seen")
        pyplot.ylabel("accuracy over 50 images")
        pyplot.savefig(plot, dpi=120)
    return page.show("Rare events: digits as a stream", rows)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, options.plot)
