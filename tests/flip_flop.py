"""Flip-flop strings (Liu et al. 2023), the same for whoever asks: working memory must read them without a glitch."""

MASK = (1 << 64) - 1


class SplitMix:
    """splitmix64, so that the strings are the same in every language."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def flip_flop(random, p_ignore, length=256):
    """One string of FFL(p_ignore): (instruction, bit), "w" first and "r" last; a read's bit is the last written."""
    p_write, written, string = (1 - p_ignore) / 2, 0, []
    for at in range(length):
        if at in (0, length - 1):
            instruction = "w" if at == 0 else "r"
        else:
            draw = (random.next() >> 11) * 2.0**-53
            instruction = "w" if draw < p_write else "r" if draw < 2 * p_write else "i"
        bit = random.next() & 1
        if instruction == "w":
            written = bit
        string.append((instruction, written if instruction == "r" else bit))
    return string
