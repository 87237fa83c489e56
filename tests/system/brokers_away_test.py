"""All three brokers at once killed, and then asleep, under two shards of two replicas with a load: nothing is
acknowledged meanwhile and reads go on, and once brokers are there again everything answers by itself: nothing that was
acknowledged is lost, nothing is there twice, replicas hold the same. In full for a minute each time."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, Callable, Optional

import fault_cluster
import fault_load
import harness
import mneme
import numpy as np
import soak_model
from kafka_brokers import Broker

AWAY_S = 60.0 if harness.FULL else 12.0
# By when a front end says UNAVAILABLE of a record that it tries to append (for thirty seconds, kLogAppendMs); what a
# caller has that waits for it, and one that does not.
APPEND_S, PATIENT_S, IMPATIENT_S = 40.0, 90.0, 1.0
# How much later than its deadline a call may end beside everything else on the machine.
LATE_S = 3.0
LEDGER, BATCH = "ledger", 10


class PatientWrite(threading.Thread):
    """A batch without ids that is begun while no broker is there, with more time than a record is tried."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.request_id = address, str(uuid.uuid4())
        self.error: Optional[BaseException] = None
        self.took = 0.0

    def run(self) -> None:
        begin = time.monotonic()
        try:
            self.write()
        except BaseException as error:  # for whoever joins it
            self.error = error
        self.took = time.monotonic() - begin

    def write(self) -> Any:
        with mneme.connect(self.address, timeout=PATIENT_S, attempts=1) as client:
            return client.memory(LEDGER).insert(
                np.ones((BATCH, 4), np.float32), np.arange(BATCH), request_id=self.request_id
            )


class BrokersAway(fault_cluster.FaultTest):
    def test_without_brokers_nothing_is_acknowledged_and_reads_go_on(self) -> None:
        self.begin()
        self.deployment.client.create_memory(LEDGER, 4, vocab_size=100)
        self.rows = 0  # of the ledger
        self.let_run(1.0)
        for what, leave, come_back in (
            ("killed", Broker.kill, Broker.start),
            ("asleep", Broker.freeze, Broker.thaw),
        ):
            harness.note(f"all brokers {what} for {AWAY_S:.0f} s: {self.away(leave, come_back)}")
        self.finish("all brokers away, twice")

    def away(self, leave: Callable[[Broker], None], come_back: Callable[[Broker], None]) -> str:
        begin = time.monotonic()
        for broker in self.kafka.brokers:
            leave(broker)
        patient = [PatientWrite(front.address) for front in self.deployment.front_ends]
        for write in patient:
            write.start()
        refused = 0
        while time.monotonic() < begin + AWAY_S:
            for front in self.deployment.front_ends:
                self.assert_reads_go_on(front)
                self.assert_nothing_is_acknowledged(front)
                refused += 1
            self.load.assert_well()
        if AWAY_S > APPEND_S:
            for write in patient:
                self.assertFalse(write.is_alive(), "a write is tried for longer than was said")
                self.assertIsInstance(write.error, mneme.Unavailable)
        healed = time.monotonic()
        for broker in self.kafka.brokers:
            come_back(broker)
        took = self.await_recovery(healed)
        self.note_time(begin, time.monotonic())
        told = [self.settle(write) for write in patient]
        self.check()
        for front in self.deployment.front_ends:
            stored = np.concatenate([page.ids for page in front.client.memory(LEDGER).scan()])
            self.assertEqual(len(np.unique(stored)), len(stored))
            self.assertEqual(len(stored), self.rows, "each write is there once")
        return f"{refused} rounds of calls, everything answers {took:.2f} s after they came back; {', '.join(told)}"

    def assert_reads_go_on(self, front: harness.Server) -> None:
        row = int(self.random.integers(fault_load.ANCHOR_ROWS))
        with mneme.connect(front.address, timeout=fault_load.READ_S, attempts=1) as client:
            anchors = client.memory(fault_load.ANCHORS)
            found = anchors.query(fault_load.anchors()[row][None], 1, exact=True)
            self.assertEqual(found.ids.tolist(), [row])
            self.assertEqual(anchors.count(), fault_load.ANCHOR_ROWS)

    def assert_nothing_is_acknowledged(self, front: harness.Server) -> None:
        with mneme.connect(front.address, timeout=IMPATIENT_S, attempts=1) as client:
            probe = client.memory(fault_cluster.PROBE)
            for call in (
                lambda: probe.insert(np.ones((16, 2), np.float32), np.arange(16), ids=np.arange(16)),
                lambda: probe.delete(ids=np.arange(100, 116)),
                # It is to see what others wrote, which only the log could tell.
                lambda: client.memory(soak_model.STATES).session("probe0").get("cell"),
                lambda: client.set_alias("away", LEDGER),
            ):
                begin = time.monotonic()
                with self.assertRaises((mneme.Unavailable, mneme.DeadlineExceeded)) as refused:
                    call()
                self.assertLess(time.monotonic() - begin, IMPATIENT_S + LATE_S)
                if isinstance(refused.exception, mneme.Unavailable):
                    self.assertIsNotNone(refused.exception.retry_after, refused.exception)

    def settle(self, write: PatientWrite) -> str:
        """A write that was told that it failed may be there, or not; asked for again it is there once."""
        write.join(PATIENT_S + LATE_S)
        self.assertFalse(write.is_alive())
        self.rows += BATCH
        if write.error is None:
            told = write.write()
            self.assertTrue(told.replayed)
            return f"a write was acknowledged after {write.took:.1f} s"
        error = write.error
        self.assertIsInstance(error, mneme.Unavailable)
        assert isinstance(error, mneme.Unavailable)
        self.assertEqual(error.reason, "SHARD_UNAVAILABLE")
        self.assertIsNotNone(error.retry_after)
        self.assertLess(write.took, APPEND_S)
        again = write.write()
        return f"a write was refused after {write.took:.1f} s, and {'was' if again.replayed else 'was not'} there"


if __name__ == "__main__":
    harness.main()
