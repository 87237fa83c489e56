"""Two shards of two replicas, two front ends and three brokers under load while connections between them are cut, pair
by pair: dropped both ways or one, reset, late. In full 200 schedules of one to three cuts at once."""

from __future__ import annotations

import dataclasses
import random
import time

import fault_cluster
import harness
import tcp_proxy
from fault_cluster import BROKER_NAMES, FRONT_NAMES, REPLICA_NAMES, TELLERS

SCHEDULES = 200 if harness.FULL else 12
WHOLE_EVERY = 10 if harness.FULL else 4  # everything that is stored is compared after so many
# A connection that says nothing is given up after fifteen seconds.
HOLD_S = (1.0, 18.0) if harness.FULL else (1.0, 5.0)
HEALED_S = 15.0
CONDUCTS = (
    tcp_proxy.DROPPED,
    tcp_proxy.FORTH_DROPPED,
    tcp_proxy.BACK_DROPPED,
    tcp_proxy.RESET,
    tcp_proxy.Conduct(delay=0.5),
)


@dataclasses.dataclass(frozen=True)
class Schedule:
    cuts: list[tuple[str, str, tcp_proxy.Conduct]]
    hold: float

    def __str__(self) -> str:
        return "; ".join(f"{one} - {other} {conduct}" for one, other, conduct in self.cuts) + f" for {self.hold:.1f} s"


def schedules(pairs: list[tuple[str, str]], rng: random.Random) -> list[Schedule]:
    """Every pair has its turn before one has a second; now and then a whole process is cut off."""
    out: list[Schedule] = []
    waiting: list[tuple[str, str]] = []
    while len(out) < SCHEDULES:
        if not waiting:
            waiting = rng.sample(pairs, len(pairs))
        conduct, hold = CONDUCTS[len(out) % len(CONDUCTS)], rng.uniform(*HOLD_S)
        if len(out) % 6 == 5:
            alone = rng.choice(sorted({name for pair in pairs for name in pair}))
            out.append(Schedule([(*pair, conduct) for pair in pairs if alone in pair], hold))
            continue
        some = [waiting.pop()]
        if rng.random() < 0.3:
            some += rng.sample(pairs, 2)
        out.append(Schedule([(*pair, conduct) for pair in dict.fromkeys(some)], hold))
    return out


class Partitions(fault_cluster.FaultTest):
    def test_nothing_is_lost_and_no_answer_wrong_while_pairs_are_cut(self) -> None:
        self.begin()
        self.let_run(1.0)
        for number, schedule in enumerate(schedules(self.network.pairs(), random.Random(harness.SEED))):
            begin = time.monotonic()
            for one, other, conduct in schedule.cuts:
                self.network.cut(one, other, conduct)
            self.let_run(schedule.hold)
            self.network.heal()
            took = self.await_recovery()
            self.assertLess(took, HEALED_S)
            self.note_time(begin, time.monotonic(), self.lost_names(schedule))
            self.check(whole=(number + 1) % WHOLE_EVERY == 0)
            harness.note(f"schedule {number + 1}: {schedule}; everything answers {took:.2f} s after it healed")
        self.finish(f"{SCHEDULES} schedules")
        # What was cut was in use: all but the way by which a replica copies another. Clients of brokers speak to those
        # that lead, and who is told names to one of those that tell them.
        unused = [pair for pair in self.network.pairs() if not self.network.carried(*pair)]
        of_clients = [pair for pair in unused if sum(name in BROKER_NAMES for name in pair) == 1]
        told = [name for name in REPLICA_NAMES if name not in TELLERS]
        of_told = [pair for pair in unused if pair in [(teller, name) for teller in TELLERS for name in told]]
        self.assertEqual(set(unused).difference(of_clients, of_told), {("shard-1-0", "shard-1-1")})
        for name in told:
            self.assertLess(sum(name in pair for pair in of_told), len(TELLERS), name)
        for client in (*FRONT_NAMES, *REPLICA_NAMES):
            self.assertLess(sum(client in pair for pair in of_clients), len(BROKER_NAMES), client)

    def lost_names(self, schedule: Schedule) -> bool:
        """Whether neither front end was told names."""
        cut = {pair for one, other, _ in schedule.cuts for pair in ((one, other), (other, one))}
        return all((front, teller) in cut for front in FRONT_NAMES for teller in TELLERS)


if __name__ == "__main__":
    harness.main()
