"""What happens between two messages of one call: an alias swings, an answer is lost."""

import pathlib
import sys
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "system"))
import grpc  # noqa: E402
import harness  # noqa: E402
import mneme  # noqa: E402
import numpy as np  # noqa: E402
from mneme import errors, streams  # noqa: E402

DIMENSION = 8


class RaceCase(harness.SharedServerTest):
    """A client of each test's own, whose calls it may tamper with; memories "old" and "new" of its own names."""

    def setUp(self):
        super().setUp()
        self.client = mneme.connect(self.server.address)
        self.addCleanup(self.client.close)
        base = self.id().split(".")[-1][:80].lower()
        self.old, self.new = (self.client.create_memory(f"{base}-{age}", DIMENSION, vocab_size=100) for age in "ab")
        self.live = self.client.memory(base)
        self.client.set_alias(base, self.old.name)

    def normal(self, rows):
        return self.random.normal(size=(rows, DIMENSION)).astype(np.float32)

    def swing(self):
        self.client.set_alias(self.live.name, self.new.name)

    def after_the_first(self, stub, method, then):
        """Does `then` once, when the first call of a method has been answered."""
        real, calls = getattr(stub, method), []

        def call(request, **options):
            calls.append(request)
            answer = real(request, **options)
            if len(calls) == 1:
                then()
            return answer

        patched = mock.patch.object(stub, method, call)
        patched.start()
        self.addCleanup(patched.stop)
        return calls


class Swinging(RaceCase):
    def test_an_insert_of_several_messages_is_of_one_memory(self):
        sent = self.after_the_first(self.client._data, "Insert", self.swing)
        done = self.live.insert(self.normal(70_000), np.zeros(70_000, int))
        self.assertEqual((len(sent), done.inserted), (2, 70_000))
        self.assertEqual((self.old.count(version=done.version), self.new.count()), (70_000, 0))

    def test_an_import_that_was_held_up_goes_on_in_the_memory_that_it_began_with(self):
        for name, load in (("import", self.live.import_rows), ("load", self.live.bulk_load)):
            with self.subTest(name):
                self.client.set_alias(self.live.name, self.old.name)
                self.old.delete(everything=True)
                with mock.patch.object(streams, "insert_all", self.held_up_once(streams.insert_all)):
                    done = load(self.normal(70_000), np.zeros(70_000, int))
                self.assertEqual(self.client.aliases()[self.live.name], self.new.name)
                self.assertEqual((self.old.count(version=done.version), self.new.count()), (70_000, 0))

    def held_up_once(self, real):
        """The server has no room after the first acknowledgement, and the alias swings meanwhile."""
        over = []

        def insert_all(*arguments):
            for acknowledged in real(*arguments):
                yield acknowledged
                if not over:
                    over.append(self.swing())
                    full = grpc.StatusCode.RESOURCE_EXHAUSTED
                    raise errors.from_code(full, "full", "MEMORY_LIMIT", {}, (), 0.0)

        return insert_all

    def test_a_question_of_several_messages_to_a_mixture_is_of_one_memory(self):
        for memory, token in ((self.old, 1), (self.new, 2)):
            memory.insert(self.normal(50), np.full(50, token))
        version = self.old.insert(self.normal(1), [1]).version

        def ask(source):
            return self.client.mix([source, (self.new, 0.5)]).distribution(self.normal(2_500), 8)

        sent = self.after_the_first(self.client._data, "Query", self.swing)
        got = ask((self.live, 0.5))
        self.assertEqual(len(sent), 5)  # the first, one that is refused, and all three anew
        self.assertEqual(set(got.tokens), {2})
        self.assertEqual([each.memory for each in got.mixture], [self.new.name] * 2)
        with self.assertRaises(mneme.FailedPrecondition) as raised:
            ask(mneme.Source(self.live, 0.5, version=version))
        self.assertEqual(raised.exception.reason, "FOREIGN_VERSION")


class LostAnswer(grpc.RpcError):
    """The connection went after the server did what it was asked, before it was told."""

    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return "connection reset"

    def trailing_metadata(self):
        return ()


class ShardLostAnswer(LostAnswer):
    """The same between a front end and the shard that did it, which the front end tells on."""

    def trailing_metadata(self):
        status = errors._MESSAGES["Status"](code=14, message="shard 0 at 127.0.0.1:7710 is not available")
        info = errors._MESSAGES["ErrorInfo"](reason="SHARD_UNAVAILABLE", domain="mneme.v1")
        status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())
        return (("grpc-status-details-bin", status.SerializeToString()),)


class LosingAnswers(RaceCase):
    lost = LostAnswer

    def lose_the_first_answer(self, stub, method):
        def lose():
            raise self.lost()

        return self.after_the_first(stub, method, lose)

    def test_what_was_done_is_told_as_done_though_a_front_end_lost_the_answer(self):
        self.lost = ShardLostAnswer
        self.test_what_was_done_is_told_as_done()

    def test_what_was_done_is_told_as_done(self):
        admin, data, live = self.client._admin, self.client._data, self.live.name
        sent = self.lose_the_first_answer(admin, "SetAlias")
        self.assertEqual(self.client.set_alias(live, self.new.name, expected=self.old.name), self.old.name)
        self.assertEqual((len(sent), self.client.aliases()[live]), (2, self.new.name))
        sent = self.lose_the_first_answer(admin, "DropAlias")
        self.assertIsNone(self.client.drop_alias(live))
        self.assertEqual((len(sent), self.client.aliases().get(live)), (2, None))
        sent = self.lose_the_first_answer(admin, "DropMemory")
        self.assertIsNone(self.client.drop_memory(self.old.name))
        self.assertEqual(len(sent), 2)
        sent = self.lose_the_first_answer(admin, "CreateMemory")
        self.assertEqual(self.client.create_like(self.old.name, self.new.name).count(), 0)
        self.assertEqual(len(sent), 2)
        lease = self.new.lease(60)
        sent = self.lose_the_first_answer(data, "ReleaseLease")
        self.assertIsNone(lease.release())
        self.assertEqual(len(sent), 2)

    def test_what_somebody_else_did_is_not(self):
        third = self.client.create_like(self.new.name + "c", self.new.name)
        self.after_the_first(self.client._admin, "SetAlias", self.swing_to_and_lose(third.name))
        with self.assertRaises(mneme.Aborted):
            self.client.set_alias(self.live.name, self.new.name, expected=self.old.name)
        with self.assertRaises(mneme.NotFound):  # at the first attempt it never was
            self.client.drop_memory("nothing")

    def swing_to_and_lose(self, name):
        def swing():
            other = mneme.connect(self.server.address)
            self.addCleanup(other.close)
            other.set_alias(self.live.name, name)
            raise LostAnswer()

        return swing

    def test_a_replacement_whose_old_memory_cannot_be_dropped_is_told_with_a_warning(self):
        class Full(LostAnswer):
            def code(self):
                return grpc.StatusCode.RESOURCE_EXHAUSTED

        with mock.patch.object(self.client._admin, "DropMemory", side_effect=Full()):
            with self.assertWarnsRegex(UserWarning, f'"{self.old.name}" was replaced.*RESOURCE_EXHAUSTED') as warned:
                fresh = self.client.replace(self.live.name, self.normal(10), np.zeros(10, int))
        self.assertEqual(warned.filename, __file__)
        self.assertEqual(self.client.aliases()[self.live.name], fresh.name)
        self.assertEqual((fresh.count(), self.old.count()), (10, 0))


if __name__ == "__main__":
    harness.main()
