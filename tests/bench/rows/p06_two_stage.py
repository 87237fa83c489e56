"""P6: a compact code scanned first and candidates ranked exactly, against scanning f32 lists."""

from __future__ import annotations

from harness.bench import Bench
from harness.report import NotAvailable, Row, alternate, throughput

NAME = "P6"
TITLE = "two-stage / f32 IVF, QPS at >= .99 relative recall"
PLAIN = "flat"
CODECS = ("int8", "pq:{half}x4", "rabitq:1", "auto")
RELATIVE = 0.99


def run(bench: Bench, row: Row) -> None:
    sets = [bench.main] if bench.quick else [bench.main, "synthetic-200kx768", "synthetic-200kx1024"]
    for name in sets:
        plain = bench.store(name, PLAIN, key_dtype="f32")
        stores = {}
        for codec in CODECS:
            codec = codec.format(half=plain.data.dimension // 2)
            try:
                stores[codec] = bench.store(name, codec)
            except RuntimeError as refused:
                row.absent(f"{name} {codec}: {str(refused)[-120:]}")
        if not stores:
            raise NotAvailable("no codec but flat")
        for k in (10, 100, 1024):
            search, reached = plain.search_for(k, 0.95)
            ours = {codec: store.search_for(k, RELATIVE * reached) for codec, store in stores.items()}
            short = {
                codec: stores[codec].load(k=k, batch=64, seconds=0.5, **found)["rows_per_second"]
                for codec, (found, recall) in ours.items()
                if recall >= RELATIVE * reached
            }
            if not short:
                row.absent(f"{name} k {k}: no codec reaches {RELATIVE} of recall {reached:.3f}")
                continue
            best = max(short, key=lambda codec: short[codec])
            found, recall = ours[best]
            sides = alternate(
                bench.rounds,
                {
                    "two": lambda: stores[best].load(k=k, batch=64, seconds=bench.seconds, **found),
                    "plain": lambda: plain.load(k=k, batch=64, seconds=bench.seconds, **search),
                },
            )
            details = {"codec": best, **found, "recall": recall, "plain_recall": reached, "tried": short}
            row.add(throughput(f"{name}, k {k}", sides, "two", "plain", 2.5, 4.0, **details))
