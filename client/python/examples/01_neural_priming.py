"""Neural Priming (Wallingford et al. 2023): a memory of images becomes a classifier, mixed with one made from text.

The digits are the images; ten blurred glyphs of a 5 x 7 font are what the "text encoder" knows of them. The memory's
centroids and their mix with the text rows are computed by the server: `memory.centroids(labels, mix=(text, alpha))`.
"""

import numpy as np
import page

GLYPHS = """01110 10001 10011 10101 11001 10001 01110|00100 01100 00100 00100 00100 00100 01110
01110 10001 00001 00010 00100 01000 11111|11111 00010 00100 00010 00001 10001 01110
00010 00110 01010 10010 11111 00010 00010|11111 10000 11110 00001 00001 10001 01110
00110 01000 10000 11110 10001 10001 01110|11111 00001 00010 00100 01000 01000 01000
01110 10001 10001 01110 10001 10001 01110|01110 10001 10001 01111 00001 00010 01100"""


def text_rows(reach):
    """A unit row [64] for each digit: its glyph at row 0, column 1; reach 1 blurs it by (1, 2, 1) x (1, 2, 1) / 16."""
    rows, steps = [], range(-reach, reach + 1)
    for glyph in GLYPHS.replace("\n", "|").split("|"):
        image = np.zeros((10, 10))
        image[1:8, 2:7] = [[int(bit) for bit in line] for line in glyph.split()]
        blur = sum((2 - abs(i)) * (2 - abs(j)) * np.roll(image, (i, j), (0, 1)) for i in steps for j in steps)
        rows.append(blur[1:9, 1:9].ravel())
    return page.unit(np.array(rows)).astype(np.float32)


def run(client, plot=None):
    images, labels = page.digits()
    keys = page.unit(images).astype(np.float32)
    pool, test = np.arange(0, len(keys), 2), np.arange(1, len(keys), 2)
    text, sharp = text_rows(1), text_rows(0)

    def accuracy(head):
        return float(np.mean(np.argmax(keys[test] @ head.T, axis=1) == labels[test]))

    def shots(count):
        """A memory with the first `count` images of each digit."""
        chosen = np.concatenate([pool[labels[pool] == digit][:count] for digit in range(10)])
        memory = client.create_memory(f"example-priming-{count}", 64, metric="ip")
        memory.insert(keys[chosen], labels[chosen], ids=chosen, labels=labels[chosen])
        return memory

    one, two = shots(1), shots(2)
    alphas = np.round(np.arange(0, 1.01, 0.1), 1)
    curves = {
        memory: [accuracy(memory.centroids(range(10), mix=(text, alpha)).mixed) for alpha in alphas]
        for memory in (one, two)
    }
    # What the server sums is what a client would sum.
    everything = client.create_memory("example-priming-all", 64, metric="ip")
    everything.insert(keys[pool], labels[pool], ids=pool, labels=labels[pool])
    got = everything.centroids(range(10)).centroids
    own = page.unit(np.stack([keys[pool][labels[pool] == digit].astype(np.float64).sum(0) for digit in range(10)]))
    # 30 % of the pool under a caption drawn at random. The published run names no seed; this one gives its digits.
    random = np.random.RandomState(0)
    captions, wrong = labels[pool].copy(), random.random_sample(len(pool)) < 0.3
    captions[wrong] = random.randint(0, 10, wrong.sum())
    noisy = client.create_memory("example-priming-noisy", 64, metric="ip")
    noisy.insert(keys[pool], captions, ids=pool, labels=captions)
    of_noisy = noisy.centroids(range(10), mix=(sharp, 0.7))
    if plot:
        pyplot = page.pyplot()
        pyplot.plot(alphas, curves[one], "o-", label="one image a class")
        pyplot.plot(alphas, curves[two], "o-", label="two images a class")
        pyplot.xlabel("weight of the text rows")
        pyplot.ylabel("accuracy")
        pyplot.legend()
        pyplot.savefig(plot, dpi=120)
    return page.show(
        "Neural Priming on digits",
        [
            ("text only", 0.4388, accuracy(text)),
            ("1 shot", 0.7004, curves[one][0]),
            ("1 shot + text, alpha 0.9", 0.5401, curves[one][9]),
            ("1 shot + text, alpha 0.7", 0.7060, curves[one][7]),
            ("1 shot + text, alpha 0.5", 0.7673, curves[one][5]),
            ("1 shot + text, alpha 0.3", 0.7561, curves[one][3]),
            ("2 shots", 0.7606, curves[two][0]),
            ("2 shots + text, alpha 0.4", 0.7962, curves[two][4]),
            ("text only, not blurred", 0.3619, accuracy(sharp)),
            ("899 images, 30 % of the captions wrong", 0.8909, accuracy(of_noisy.centroids)),
            ("the same + text, not blurred, alpha 0.7", 0.5045, accuracy(of_noisy.mixed)),
            ("centroids off by", 0.0, float(np.abs(got - own).max())),
        ],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, options.plot)
