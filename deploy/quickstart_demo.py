"""The demonstration behind deploy/quickstart: an empty memory reads ten articles, survives kill -9, forgets one.

The data are 22,062 hidden states of a small language model and the tokens that followed them (tests/data/wiki_stream).
Every number is computed here, from what the server answers; the golden perplexities are checked at the end.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "client" / "python"))

import mneme  # noqa: E402
import numpy as np  # noqa: E402

BIN = pathlib.Path(os.environ.get("MNEME_BIN_DIR") or ROOT / "build" / "release" / "bin")
K, TEMPERATURE, WEIGHT = 1024, 7.0, 0.3
GOLDEN_LM, GOLDEN_MEMORY = 143.988310, 107.102958
TTY = sys.stdout.isatty()
BOLD, DIM, GREEN, PLAIN = ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if TTY else ("", "", "", "")


def say(text=""):
    print(text, flush=True)


def title(text):
    say(f"\n{BOLD}{text}{PLAIN}")


class Text:
    """The stream: keys, tokens, the model's own log-probabilities, articles; and tokens as words."""

    def __init__(self):
        folder = ROOT / "tests" / "data" / "wiki_stream"
        self.keys = np.load(folder / "query_keys.npy")
        self.tokens = np.load(folder / "query_gold.npy")
        self.ln_lm = np.load(folder / "query_lm_logp.npy").astype(np.float64)
        self.article = np.load(folder / "query_doc.npy").astype(np.int64)
        self.words = (folder / "vocab.txt").read_text().splitlines()

    def word(self, token):
        return self.words[token]

    def before(self, position, count=7):
        """The words that stand before a position, as far as its article goes."""
        first = max(0, position - count)
        while self.article[first] != self.article[position]:
            first += 1
        return " ".join(self.words[token] for token in self.tokens[first:position])

    def rows_of(self, article):
        return np.flatnonzero(self.article == article)


class Server:
    """mneme-server as a child, on a free port of the loopback interface."""

    def __init__(self, folder):
        self.folder = folder
        self.start()

    def start(self):
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        with open(self.folder / "server.log", "ab") as log:
            command = [
                BIN / "mneme-server",
                "--data-dir",
                self.folder / "data",
                "--listen",
                "127.0.0.1:0",
                "--port-file",
                port_file,
                "--admin-listen",
                "off",
            ]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        end = time.monotonic() + 60
        port = ""
        while not port.strip() and time.monotonic() < end:
            if self.process.poll() is not None:
                log_tail = (self.folder / "server.log").read_text()[-2000:]
                sys.exit(f"mneme-server ended with {self.process.returncode}:\n{log_tail}")
            with contextlib.suppress(FileNotFoundError):
                port = port_file.read_text()
            time.sleep(0.01)
        self.address = f"127.0.0.1:{port.strip()}"
        self.client = mneme.connect(self.address)
        self.client.ping()

    def end(self, how):
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)


class Line:
    """The live line: redrawn ten times a second on a terminal, silent elsewhere."""

    def __init__(self, total):
        self.total, self.start, self.drawn = total, time.monotonic(), 0.0

    def draw(self, done, without, with_memory):
        now = time.monotonic()
        if not TTY or (now - self.drawn < 0.1 and done < self.total):
            return
        self.drawn = now
        filled = 24 * done // self.total
        rate = done / max(now - self.start, 1e-9)
        print(
            f"\r  {'█' * filled}{'░' * (24 - filled)} {done:6,} tokens  perplexity {without:6.2f} without, "
            f"{GREEN}{with_memory:6.2f} with memory{PLAIN}  {rate:5.0f} tokens/s ",
            end="",
            flush=True,
        )

    def clear(self):
        if TTY:
            print("\r" + " " * 110 + "\r", end="", flush=True)


def perplexity(nats):
    return float(np.exp(-np.mean(nats)))


def show_moment(text, memory, position, p_without, p_with):
    """Why the memory helped here: the nearest things it has read, as text."""
    near = memory.query(text.keys[position], 3, exact=True, exclude_ids=[position])
    word = f"{BOLD}{text.word(text.tokens[position])}{PLAIN}"
    say(f"    “…{text.before(position)} {word}”  p {p_without:.3f} -> {p_with:.3f}")
    for entry_id, distance, token in zip(near.ids.tolist(), near.distances.tolist(), near.values.tolist()):
        context = f"…{text.before(entry_id, 6)} [{text.word(token)}]"
        say(f"    {DIM}  read before, distance {distance:5.1f}:  {context}{PLAIN}")


def read_articles(text, memory):
    """One round trip a token: predict it, then learn it. Returns ln p with the memory, per token."""
    count = len(text.tokens)
    ln_p = np.empty(count)
    line, article_start, best = Line(count), 0, (0.0, 0)
    say(f"  {'article':>9} {'tokens':>7} {'without':>9} {'with':>9} {'so far':>9} {'tokens/s':>9}")
    with memory.decode_stream(k=K, temperature=TEMPERATURE, exact=True) as stream:
        for i in range(count):
            got = stream.step(
                text.keys[i],
                targets=text.tokens[i],
                learn=text.tokens[i],
                ids=i,
                sources=text.article[i],
                positions=i,
                lm_log_probs=text.ln_lm[i],
                knn_weight=WEIGHT,
            )
            ln_p[i] = got.mix(text.ln_lm[i : i + 1], WEIGHT)[0]
            gain = np.exp(ln_p[i]) - np.exp(text.ln_lm[i])
            if gain > best[0] and text.words[text.tokens[i]] not in ("<eos>", "<unk>", "N"):
                best = (gain, i)
            if i % 64 == 0 or i + 1 == count:
                line.draw(i + 1, perplexity(text.ln_lm[: i + 1]), perplexity(ln_p[: i + 1]))
            if i + 1 == count or text.article[i + 1] != text.article[i]:
                line.clear()
                cut = slice(article_start, i + 1)
                say(
                    f"  {text.article[i]:>9} {i + 1 - article_start:>7,} {perplexity(text.ln_lm[cut]):>9.2f} "
                    f"{GREEN}{perplexity(ln_p[cut]):>9.2f}{PLAIN} {perplexity(ln_p[:i + 1]):>9.2f} "
                    f"{(i + 1) / (time.monotonic() - line.start):>9.0f}"
                )
                if text.article[i] % 3 == 1 and best[0] > 0:
                    show_moment(text, memory, best[1], np.exp(text.ln_lm[best[1]]), np.exp(ln_p[best[1]]))
                article_start, best = i + 1, (0.0, i + 1)
        stream.wait()
        benefit = stream.benefit_tokens, stream.benefit_nats
    seconds = time.monotonic() - line.start
    say(f"\n  {count:,} tokens in {seconds:.0f} s, one query and one insert each: {count / seconds:.0f} tokens/s")
    say(f"  The server's own count: {benefit[1]:,.1f} nats gained over {benefit[0]:,} tokens")
    return ln_p


def answers(text, memory):
    """Exact answers to 50 probes, as bytes."""
    rows = np.linspace(0, len(text.tokens) - 1, 50).astype(int)
    got = memory.distribution(text.keys[rows], K, TEMPERATURE, exact=True)
    near = memory.query(text.keys[rows], 100, exact=True)
    return b"".join(column.tobytes() for column in (got.offsets, got.tokens, got.log_probs, near.ids, near.distances))


def kill_and_restart(text, server, memory):
    before, count = answers(text, memory), memory.count()
    pid = server.process.pid
    server.end(signal.SIGKILL)
    start = time.monotonic()
    server.start()
    memory = server.client.memory("reading")
    same = answers(text, memory) == before and memory.count() == count
    seconds = time.monotonic() - start
    say(f"  kill -9 {pid}; up again in {seconds:.2f} s; {memory.count():,} of {count:,} entries are there")
    say(f"  Answers to 50 probes: {len(before):,} bytes, {'identical' if same else 'DIFFERENT'}")
    if not same:
        sys.exit("The answers after the restart differ from those before it.")
    return memory


def read_again(text, memory, rows):
    """Perplexity of rows that are only asked, not learned."""
    nats = []
    for start in range(0, len(rows), 256):
        cut = rows[start : start + 256]
        got = memory.distribution(text.keys[cut], K, TEMPERATURE, targets=text.tokens[cut], exact=True)
        nats.append(got.mix(text.ln_lm[cut], WEIGHT))
    return perplexity(np.concatenate(nats))


def forget_an_article(text, memory):
    article = int(text.article[len(text.article) // 2])
    rows = text.rows_of(article)
    probe = int(rows[len(rows) // 2])
    count, first = memory.count(), memory.query(text.keys[probe], 3, exact=True, with_attributes=True)
    before = read_again(text, memory, rows)
    receipt = memory.delete(sources=[article])
    after, second = read_again(text, memory, rows), memory.query(text.keys[probe], 3, exact=True, with_attributes=True)
    say(
        f"  delete(sources=[{article}]): {receipt.deleted:,} entries; {count:,} before, {memory.count():,} after, "
        f"{memory.count(filter=mneme.Filter(sources=[article]))} left of that article"
    )
    for name, got in (("before", first), ("after", second)):
        shown = ", ".join(
            f"[{text.word(token)}] of article {source}, distance {distance:.1f}"
            for token, source, distance in zip(got.values.tolist(), got.sources.tolist(), got.distances.tolist())
        )
        say(f"  Nearest to “…{text.before(probe, 5)} _” {name}: {shown}")
    if article in second.sources.tolist():
        sys.exit("An entry of the deleted article was found.")
    say(
        f"  That article read once more: perplexity {before:.2f} while the memory holds it, "
        f"{GREEN}{after:.2f}{PLAIN} after the deletion, {perplexity(text.ln_lm[rows]):.2f} without any memory"
    )
    say("  What is left are other articles: they know the language, not this text.")


def closing_words(server, keep, ln_p):
    title("What kind of gain this is")
    say("  Adaptation to the text being read: names, phrases and topics that come back. The memory was empty, the")
    say("  model was not trained, and nothing was known of these articles beforehand. It is not knowledge of other")
    say("  text; for that, fill a memory with a corpus of your own first (import), and tune k, temperature and weight")
    say("  on held-out text.")
    title("What to try next")
    if keep:
        say(f"  The server runs on {server.address} (pid {server.process.pid}, data in {server.folder}). Talk to it:")
        say(f"    build/release/bin/mneme --server {server.address} info reading")
        say(f"    build/release/bin/mneme --server {server.address} query reading -k 3 \\")
        say("      --keys tests/data/wiki_stream/query_keys.npy --vocab tests/data/wiki_stream/vocab.txt")
        say(f"    kill {server.process.pid}      # a clean stop")
    else:
        say("  deploy/quickstart --keep          the same, and the server stays for you to talk to")
    say("  docs/api.md                       the Python client and the command line by example")
    say("  tests/run                         every test")
    say(
        f"\n{BOLD}Perplexity {GOLDEN_LM:.2f} -> {perplexity(ln_p):.2f} "
        f"(k {K}, temperature {TEMPERATURE:g}, weight {WEIGHT}){PLAIN}"
    )


def main():
    parser = argparse.ArgumentParser(prog="deploy/quickstart")
    parser.add_argument("--keep", action="store_true", help="leave the server running and its data in place")
    keep = parser.parse_args().keep
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mneme-quickstart-"))
    server = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        text = Text()
        server = Server(folder)
        title(f"An empty memory reads ten articles ({len(text.tokens):,} tokens the language model never saw)")
        say("  Each token is predicted, mixed with what the memory knows of the hidden state, then learned.")
        memory = server.client.create_memory(
            "reading",
            text.keys.shape[1],
            metric="l2",
            value="token",
            vocab_size=len(text.words),
            key_dtype="f16",
            fingerprint={"model": "lstm-2x256", "layer": "ffn-input"},
        )
        ln_p = read_articles(text, memory)
        off = abs(perplexity(ln_p) / GOLDEN_MEMORY - 1)
        if off > 1e-6:
            sys.exit(f"Perplexity {perplexity(ln_p):.6f}; it should be {GOLDEN_MEMORY}.")
        title("kill -9")
        memory = kill_and_restart(text, server, memory)
        title("One article is forgotten")
        forget_an_article(text, memory)
        closing_words(server, keep, ln_p)
    except KeyboardInterrupt:
        sys.exit(130)
    except mneme.MnemeError as error:
        code = server.process.poll() if server else None
        log_tail = (folder / "server.log").read_text()[-2000:]
        state = "still runs" if code is None else f"ended with {code}"
        sys.exit(f"\n{error}\nThe server {state}. The end of its log:\n{log_tail}")
    finally:
        finished = sys.exc_info()[0] is None
        if server is not None and not (keep and finished):
            server.end(signal.SIGTERM)
        if not (keep and finished):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
