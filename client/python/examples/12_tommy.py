"""ToMMY (Nguyen et al. 2023): what an actor believes is read from that actor's memory alone, by attention.

Sally-Anne stories: agents enter, leave and move objects between containers. Each agent is a partition; an event writes
object -> container into the partitions of those present. With one memory for all, every false belief is answered wrong.
"""

import numpy as np
import page

AGENTS, OBJECTS, CONTAINERS, STORIES, EVENTS = 4, 6, 5, 100, 30
SHARED = AGENTS  # within a story: the partition that sees everything


def story(random):
    """Yields (who sees it, object, container) for each event; entering reveals what lies where."""
    present, place = set(range(AGENTS)), {thing: int(random.integers(CONTAINERS)) for thing in range(OBJECTS)}
    for thing, where in place.items():
        yield set(present), thing, where
    for _ in range(EVENTS):
        agent = int(random.integers(AGENTS))
        if random.random() < 0.4:
            if agent in present and len(present) > 1:
                present.remove(agent)
            elif agent not in present:
                present.add(agent)
                for thing, where in place.items():
                    yield {agent}, thing, where
        else:
            thing, where = int(random.integers(OBJECTS)), int(random.integers(CONTAINERS))
            place[thing] = where
            yield set(present), thing, where


def run(client, plot=None):
    random = np.random.default_rng(12)
    things = np.eye(OBJECTS, dtype=np.float32) * 20  # far apart: attention is on one entry
    memory = client.create_memory("example-tommy", OBJECTS, metric="ip", value="vector", value_dim=CONTAINERS)
    right = wrong_if_shared = false_beliefs = questions = 0
    for number in range(STORIES):
        first = number * (AGENTS + 1)
        believed, true = {}, {}
        for seers, thing, where in story(random):
            true[thing] = where
            for agent in seers | {SHARED}:
                believed[agent, thing] = where  # what the story says; the server is asked below
        for agent in range(AGENTS + 1):
            rows = [(thing, believed[agent, thing]) for thing in range(OBJECTS)]
            values = np.eye(CONTAINERS, dtype=np.float32)[[where for _, where in rows]]
            memory.insert(things, values, ids=np.arange(OBJECTS), partition=first + agent, durability="written")
        shared = memory.attention(things, partitions=first + SHARED).outputs.argmax(1)
        for agent in range(AGENTS):
            answers = memory.attention(things, partitions=first + agent).outputs.argmax(1)
            for thing in range(OBJECTS):
                questions += 1
                right += int(answers[thing] == believed[agent, thing])
                if believed[agent, thing] != true[thing]:
                    false_beliefs += 1
                    wrong_if_shared += int(shared[thing] != believed[agent, thing])
    return page.show(
        f"ToMMY: {STORIES} stories, {questions} questions, {false_beliefs} of them of a false belief",
        [
            ("right with a memory for each agent", 1.0, right / questions),
            ("false beliefs answered wrong with one memory", 1.0, wrong_if_shared / max(1, false_beliefs)),
            ("false beliefs", None, false_beliefs),
        ],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
