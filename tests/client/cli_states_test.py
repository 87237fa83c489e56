"""Working memory by hand: registers, linear, feedback and counter states, whole sessions; the published goldens."""

import base64
import json
import time
import unittest

import numpy as np
from cli_harness import CliTest, run
from flip_flop import SplitMix, flip_flop


class StateTest(CliTest):
    SHARDS = 4

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cli("create", "wm", "--dim", 2, "--metric", "l2", "--value", "token")

    def state(self, verb, *arguments):
        return self.cli("state", verb, "wm", *arguments)

    def near(self, got, want, within=1e-6):
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=within, rtol=0)

    def lines(self, name, operations):
        path = self.folder / name
        path.write_text("".join(json.dumps(each) + "\n" for each in operations))
        return path


class Registers(StateTest):
    def test_a_register_holds_the_last_write_and_counts_its_versions(self):
        self.assertEqual(self.state("get", "chat1", "mode"),
                         {"found": False, "version": 0, "bytes": 0, "value": None, "expiry_ms": 0})
        self.assertEqual(self.state("put", "chat1", "mode", "--value", "draft"), {"found": False, "version": 1})
        self.assertEqual(self.state("put", "chat1", "mode", "--value", ""), {"found": True, "version": 2})
        self.assertEqual(self.state("get", "chat1", "mode")["value"], "")
        self.assertEqual(self.text("state", "put", "wm", "chat1", "mode", "--value", "ä"), "version 3\n")
        self.assertEqual(self.text("state", "get", "wm", "chat1", "mode"), "ä\n")
        self.assertEqual(self.state("remove", "chat1", "mode"), {"found": True, "version": 0})
        self.assertEqual(self.text("state", "remove", "wm", "chat1", "mode"), "there was none\n")

    def test_bytes_go_in_and_out_by_files_as_they_are(self):
        content = bytes(range(256)) * 3
        (self.folder / "in.bin").write_bytes(content)
        self.state("put", "chat2", "page", "--file", self.folder / "in.bin")
        got = self.state("get", "chat2", "page")
        self.assertEqual(base64.b64decode(got["value"]["base64"]), content)
        got = self.state("get", "chat2", "page", "--out", self.folder / "out.bin")
        self.assertEqual((got["bytes"], "value" in got), (768, False))
        self.assertEqual((self.folder / "out.bin").read_bytes(), content)

    def test_cas_writes_only_over_the_expected_version(self):
        self.assertEqual(self.state("cas", "chat3", "x", "--expected-version", 0, "--value", "1")["version"], 1)
        self.fails(64 + 10, "ABORTED", "state", "cas", "wm", "chat3", "x", "--expected-version", 0, "--value", "2")
        self.assertEqual(self.state("cas", "chat3", "x", "--expected-version", 1, "--value", "2")["version"], 2)
        self.assertEqual(self.state("get", "chat3", "x")["value"], "2")

    def test_a_request_id_is_applied_once(self):
        for _ in range(2):
            got = self.state("put", "chat4", "x", "--value", "1", "--request-id", "once")
            self.assertEqual(got["version"], 1)
        self.fails(64 + 9, "request_id was used before", "state", "put", "wm", "chat4", "x", "--value", "2",
                   "--request-id", "once")

    def test_a_register_expires(self):
        soon = int(time.time() * 1000) + 1500
        self.state("put", "chat5", "x", "--value", "1", "--expiry", soon)
        self.assertEqual(self.state("get", "chat5", "x")["expiry_ms"], soon)
        while time.time() * 1000 <= soon:
            time.sleep(0.05)
        self.assertFalse(self.state("get", "chat5", "x")["found"])

    def test_what_is_wrong_names_flag_value_and_bound(self):
        put = ["state", "put", "wm", "chat6", "x"]
        self.fails(2, "one of --value and --file", *put)
        self.fails(2, "one of --value and --file", *put, "--value", "1", "--file", self.folder / "in.bin")
        self.fails(1, "missing.bin: cannot be read", *put, "--file", self.folder / "missing.bin")
        self.fails(2, "--expiry", *put, "--value", "1", "--expiry", -1)
        self.fails(2, "--durability", *put, "--value", "1", "--durability", "maybe")
        self.fails(2, "--expected-version", "state", "cas", "wm", "chat6", "x", "--value", "1")
        self.fails(64 + 5, "nowhere", "state", "get", "nowhere", "chat6", "x")
        self.fails(64 + 3, "session", "state", "get", "wm", "/chat6", "x")
        self.fails(2, 'state: there is no verb "gte"; did you mean get?; see: mneme state --help', "state", "gte", "wm")
        self.fails(2, "state put: there is no option --vlaue; did you mean --value?", *put, "--vlaue", "1")
        self.fails(2, "state: needs one of its verbs; see: mneme state --help", "state")

    def test_help_of_a_group_names_its_verbs_and_that_of_a_verb_its_words(self):
        text = run("state", "--help").stdout
        self.assertIn("Usage: mneme state VERB ..   (mneme state VERB --help for each)", text)
        for verb in ("put", "get", "cas", "remove", "apply", "linear", "feedback-attend", "counters-add"):
            self.assertRegex(text, f"\n  {verb} ")
        self.assertIn("Usage: mneme state put MEMORY SESSION NAME [options]", run("state", "put", "--help").stdout)


class Apply(StateTest):
    def test_flip_flop_strings_are_read_without_a_glitch(self):
        random, operations, wanted = SplitMix(7), [], []
        strings = [flip_flop(random, 0.1) for _ in range(20)]
        self.assertEqual("".join(i + str(b) for i, b in strings[0][:8]), "w1w0r0w0w1w1i0r1")
        for at in range(256):
            for number, string in enumerate(strings):
                instruction, bit = string[at]
                cell = {"session": f"ffl{number}", "name": "bit"}
                if instruction == "w":
                    operations.append({"op": "put", **cell, "value": str(bit)})
                elif instruction == "r":
                    operations.append({"op": "get", **cell})
                    wanted.append((len(operations) - 1, str(bit)))
        got = self.state("apply", "--file", self.lines("ffl.jsonl", operations), "--batch", 500)["results"]
        self.assertEqual(len(got), len(operations))
        self.assertGreater(len(wanted), 1500)
        self.assertEqual([got[i]["value"] for i, _ in wanted], [bit for _, bit in wanted])

    def test_bytes_cas_remove_and_people(self):
        cell = {"session": "apply", "name": "x"}
        operations = [
            {"op": "put", **cell, "value": {"base64": "/wA="}}, {"op": "get", **cell},
            {"op": "cas", **cell, "expected_version": 1, "value": "two"}, {"op": "get", **cell},
            {"op": "remove", **cell}, {"op": "get", **cell},
        ]
        path = self.lines("apply.jsonl", operations)
        self.assertEqual(self.state("apply", "--file", path)["results"], [
            {"found": False, "version": 1}, {"found": True, "version": 1, "value": {"base64": "/wA="}},
            {"found": True, "version": 2}, {"found": True, "version": 2, "value": "two"},
            {"found": True, "version": 0}, {"found": False, "version": 0},
        ])
        text = self.text("state", "apply", "wm", "--file", path)
        self.assertRegex(text, r"apply +x +1 +\\377\\000\n")
        self.assertRegex(text, "apply +x +2 +two\n")

    def test_a_refused_operation_is_told_in_place_and_by_the_exit_code(self):
        path = self.lines("refused.jsonl", [
            {"op": "put", "session": "good", "name": "x", "value": "1"},
            {"op": "put", "session": "bad", "name": "x", "value": "1"},
            {"op": "cas", "session": "bad", "name": "y", "expected_version": 9, "value": "1"},
        ])
        done = run("--server", self.address, "state", "apply", "wm", "--file", path, "-o", "json", check=False)
        self.assertEqual(done.returncode, 64 + 10)
        results = json.loads(done.stdout)["results"]
        self.assertEqual(results[0], {"found": False, "version": 1})
        self.assertEqual([each["error"]["reason"] for each in results[1:]], ["SESSION_NOT_APPLIED", "VERSION_MISMATCH"])
        self.assertFalse(self.state("get", "bad", "x")["found"])

    def test_a_bad_line_is_told_by_its_number_before_anything_is_applied(self):
        good = {"op": "put", "session": "lines", "name": "x", "value": "1"}
        for bad, what in (
            ({**good, "op": "pt"}, '"op" is "pt"; must be put, get, cas or remove'),
            ({**good, "session": 3}, '"session" is 3; must be a string'),
            ({**good, "value": 3}, '"value": 3 is no bytes; must be a string or {"base64": ..}'),
            ({**good, "expiry_ms": -1}, '"expiry_ms" is -1; must be an integer, 0 or more'),
            ({**good, "op": "cas"}, '"expected_version" is null; must be an integer, 0 or more'),
            ({**good, "vlaue": 3}, 'there is no "vlaue" of put'),
            ([1], "is no JSON object"),
        ):
            path = self.lines("bad.jsonl", [good, bad])
            self.fails(1, f"bad.jsonl line 2: {what}", "state", "apply", "wm", "--file", path)
        self.assertFalse(self.state("get", "lines", "x")["found"])

    def test_sessions_expire_as_a_whole(self):
        path = self.lines("expiry.jsonl", [{"op": "put", "session": "expiring", "name": "x", "value": "1"}])
        self.state("apply", "--file", path, "--session-expiry", 4_000_000_000_000)
        listed = self.cli("session", "list", "wm", "--prefix", "expiring")["sessions"]
        self.assertEqual([(each["states"], each["expiry_ms"]) for each in listed], [(1, 4_000_000_000_000)])


class Linear(StateTest):
    def test_goldens_of_infini_attention(self):
        keys, values = self.save("k", [(1, 0), (0, -1)]), self.save("v", [(1, 2), (3, 4)])
        query = self.save("q", [(0.5, -0.5)])
        for rule, matrix, read in (
            ("linear", [(15, 20), (7.1036383235, 9.4715177647)], (3, 4)),
            ("delta", [(11.7144852409, 14.7144852409), (5.4608809440, 6.8287603851)], (2.3358775094, 2.9316044872)),
        ):
            state = [f"infini-{rule}", "head"]
            empty = self.state("linear", *state, "--queries", query, "--value-dim", 2)
            self.assertEqual((empty["found"], empty["reads"]), (False, [[0, 0]]))
            wrote = self.state("linear", *state, "--keys", keys, "--values", values, "--queries", query)
            self.assertEqual((wrote["reads"], wrote["tokens"]), ([[0, 0]], 2))  # read before the write
            got = self.state("linear-get", *state)
            self.near(got["matrix"], [(5, 8), (2.1036383235, 3.4715177647)], 1e-10)
            self.near(got["normaliser"], (3, 1.3678794412), 1e-10)
            self.near(self.state("linear", *state, "--queries", query)["reads"], [(1.6466190695, 2.6466190695)])
            one = self.save("one", [(1, 0)])
            five = self.save("five", [(5, 6)])
            last = self.state("linear", *state, "--keys", one, "--values", five, "--queries", one, "--rule",
                              rule, "--order", "write_then_read")
            self.near(last["reads"], [read])
            self.state("linear-get", *state, "--out", self.folder / rule)
            got = np.load(self.folder / rule / "matrix.npy")
            self.assertEqual(got.dtype, np.float64)
            self.near(got, matrix, 1e-9)
            self.near(np.load(self.folder / rule / "normaliser.npy"), (5, 2.3678794412), 1e-9)

    def test_delta_leaves_a_known_binding_but_its_read_halves(self):
        one, five = self.save("one", [(1, 0)]), self.save("five", [(5, 6)])
        write = ["linear", "again", "head", "--keys", one, "--values", five, "--rule", "delta"]
        self.state(*write)
        self.state(*write)
        self.state("linear", "again", "head", "--queries", one, "--out", self.at("reads"))
        self.near(np.load(self.at("reads")), [(2.5, 3)])
        self.assertEqual(np.load(self.at("reads")).dtype, np.float32)

    def test_delta_depends_on_the_length_of_segments_and_linear_does_not(self):
        random = np.random.default_rng(1)
        keys, values = self.save("many", random.normal(size=(8, 2))), self.save("many_v", random.normal(size=(8, 3)))
        for rule, apart in (("linear", False), ("delta", True)):
            matrices = []
            for segment in (1, 8):
                name = f"{rule}{segment}"
                self.state("linear", "segments", name, "--keys", keys, "--values", values, "--rule", rule, "--segment",
                           segment)
                matrices.append(np.array(self.state("linear-get", "segments", name)["matrix"]))
            self.assertEqual(float(np.abs(matrices[0] - matrices[1]).max()) > 1e-6, apart)

    def test_what_is_wrong_names_the_file_or_the_flag(self):
        linear = ["state", "linear", "wm", "wrong", "head"]
        keys = self.save("k", [(1, 0), (0, -1)])
        self.fails(2, "--keys and --values", *linear, "--keys", keys)
        self.fails(2, "--queries to read", *linear)
        self.fails(2, "--rule", *linear, "--queries", keys, "--rule", "cubic")
        self.fails(1, "int.npy has dtype i64; vectors must be f16, f32 or f64", *linear, "--queries",
                   self.save("int", [(1, 0)], np.int64))
        self.fails(64 + 3, "values", *linear, "--keys", keys, "--values", self.save("three", np.zeros((3, 2))))
        self.state("put", "wrong", "head", "--value", "1")
        self.fails(64 + 9, "register", *linear, "--keys", keys, "--values", keys)


class Feedback(StateTest):
    def test_goldens_of_transformer_fam(self):
        files = ["--queries", self.save("q", [(1, 1), (2, 0)]), "--keys", self.save("k", [(1, 0), (0, 1)]),
                 "--values", self.save("v", [(1, 0), (0, 1)]), "--fam-queries", self.save("fq", [(1, -1)])]
        first = self.state("feedback-attend", "first", "head", "--block", 0, *files)
        self.near(first["tokens"], [(1, 0), (0.804429682507, 0.195570317493)])
        self.near(first["fam"], [(0.804429682507, 0.195570317493)])

        self.state("feedback-attend", "golden", "head", "--block", 0, "--ring", 1, "--queries",
                   self.save("past_q", [(1, 0)]), "--keys", self.save("past_k", [(-1, 0)]), "--values",
                   self.save("past_v", [(3, 3)]))
        block = ["feedback-attend", "golden", "head", "--block", 1, "--ring", 1, *files, "--fam-keys",
                 self.save("fk", [(0.5, 0.5)]), "--fam-values", self.save("fv", [(0.25, 0.75)])]
        got = self.state(*block)
        self.near(got["tokens"], [(0.882410698889, 0.659506560935), (0.724442047360, 0.440171212792)])
        self.near(got["fam"], [(0.646974197651, 0.353025802349)])
        self.assertEqual(self.state(*block), got)
        self.state(*block, "--out", self.folder / "block")
        self.near(np.load(self.folder / "block" / "tokens.npy"), got["tokens"], 1e-7)
        self.near(np.load(self.folder / "block" / "fam.npy"), got["fam"], 1e-7)
        self.fails(64 + 9, "block_index", "state", *block[:1], "wm", *block[1:4], 3, *block[5:])
        state = self.state("feedback-get", "golden", "head")
        self.assertEqual((state["last_block"], state["ring_offsets"]), (1, [0, 2]))
        self.near(state["ring_keys"], [(1, 0), (0, 1)])
        self.near(state["fam_values"], [(0.25, 0.75)])
        self.state("feedback-get", "golden", "head", "--out", self.folder / "fam")
        self.near(np.load(self.folder / "fam" / "ring_values.npy"), [(1, 0), (0, 1)])
        self.assertIn("last block 1, ring of 2 tokens, FAM of 1",
                      self.text("state", "feedback-get", "wm", "golden", "head"))

    def test_what_is_wrong_names_the_flag(self):
        attend = ["state", "feedback-attend", "wm", "wrong", "head"]
        files = [part for name in ("queries", "keys", "values") for part in (f"--{name}", self.save("one", [(1, 0)]))]
        self.fails(2, "--block", *attend, *files)
        self.fails(2, "--block", *attend, *files, "--block", -1)
        self.fails(2, "--ring", *attend, *files, "--block", 0, "--ring", 5000)
        self.fails(2, "--fam-values", *attend, *files, "--block", 0, "--fam-keys", self.at("one"))
        self.assertIsNone(self.state("feedback-get", "wrong", "head")["last_block"])


class Counters(StateTest):
    def test_counts_add_up_and_read_back_as_rows(self):
        rows, columns = self.save("rows", [0, 0, 1], np.int64), self.save("columns", [1, 2, 0], np.int64)
        add = ["counters-add", "corpus", "pairs", "--rows", rows, "--columns", columns]
        self.state(*add)
        self.state(*add, "--counts", self.save("counts", [10, -1, 5], np.int32))
        want = {"found": True, "version": 2, "rows": [0, 1], "offsets": [0, 1, 2], "columns": [1, 0], "counts": [11, 6]}
        self.assertEqual(self.state("counters-get", "corpus", "pairs"), want)
        some = self.state("counters-get", "corpus", "pairs", "--rows", self.save("asked", [1], np.uint32))
        self.assertEqual((some["rows"], some["columns"], some["counts"]), ([1], [0], [6]))
        self.state("counters-get", "corpus", "pairs", "--out", self.folder / "pairs")
        for name in ("rows", "offsets", "columns", "counts"):
            self.assertEqual(np.load(self.folder / "pairs" / f"{name}.npy").tolist(), want[name])
        self.assertEqual(self.text("state", "counters-get", "wm", "corpus", "pairs"),
                         "ROW  COLUMN  COUNT\n  0       1     11\n  1       0      6\n")

    def test_what_is_wrong_names_the_file(self):
        rows = self.save("rows", [0, 0, 1], np.int64)
        add = ["state", "counters-add", "wm", "wrong", "pairs", "--rows", rows, "--columns"]
        self.fails(1, "short.npy has 2 items, but", *add, self.save("short", [1, 2], np.int64))
        self.fails(1, "below.npy: column of row 1 is -2; must be in [0, 4294967296)", *add,
                   self.save("below", [1, -2, 0], np.int64))
        self.fails(1, "half.npy: dtype is f32; must be an integer type", *add, rows,
                   "--counts", self.save("half", [0.5, 1, 2]))


class Sessions(StateTest):
    def test_sessions_fork_move_and_are_reset(self):
        self.state("put", "move", "mode", "--value", "draft")
        self.state("linear", "move", "head", "--keys", self.save("k", [(1, 0)]), "--values", self.save("v", [(5, 6)]))
        self.assertEqual(self.cli("session", "fork", "wm", "move", "move/beam"), {"forked": True, "replayed": False})
        self.state("put", "move/beam", "mode", "--value", "beam")
        self.assertEqual(self.state("get", "move", "mode")["value"], "draft")
        self.fails(64 + 6, "move/beam", "session", "fork", "wm", "move", "move/beam")
        self.cli("session", "fork", "wm", "move", "move/beam", "--replace")
        self.assertEqual(self.state("get", "move/beam", "mode")["value"], "draft")
        exported = self.cli("session", "export", "wm", "move", "--out", self.folder / "move.session")
        self.assertEqual((self.folder / "move.session").stat().st_size, exported["bytes"])
        self.cli("session", "import", "wm", "elsewhere", "--file", self.folder / "move.session")
        self.near(self.state("linear", "elsewhere", "head", "--queries", self.at("k"))["reads"], [(5, 6)])
        listed = self.cli("session", "list", "wm", "--prefix", "move")["sessions"]
        self.assertEqual([(each["session"], each["states"]) for each in listed], [("move", 2), ("move/beam", 2)])
        self.assertRegex(self.text("session", "list", "wm", "--prefix", "move"),
                         r"SESSION +STATES +BYTES +EXPIRY\nmove +2 ")
        reset = self.cli("session", "reset", "wm", "move", "move/beam", "never")
        self.assertEqual((reset["removed"], reset["replayed"]), (2, False))
        self.assertEqual(self.cli("session", "list", "wm", "--prefix", "move"), {"sessions": []})
        self.fails(64 + 5, "move", "session", "export", "wm", "move", "--out", self.folder / "none")
        (self.folder / "torn.session").write_bytes(b"torn")
        self.fails(64 + 3, "content", "session", "import", "wm", "torn", "--file", self.folder / "torn.session")

    def test_a_long_list_is_whole(self):
        operations = [{"op": "put", "session": f"many{i:04}", "name": "x", "value": ""} for i in range(1500)]
        self.state("apply", "--file", self.lines("many.jsonl", operations))
        listed = self.cli("session", "list", "wm", "--prefix", "many")["sessions"]
        self.assertEqual([each["session"] for each in listed], [each["session"] for each in operations])


if __name__ == "__main__":
    unittest.main(verbosity=1)
