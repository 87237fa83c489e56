"""What the memories of the literature ask, by hand on files: the published goldens of attention, centroids, matches,
choices and rare events, extra candidates, and imports of every kind of value and column."""

import json
import unittest

import numpy as np
from cli_harness import SEED, CliTest, run


class ReadOuts(CliTest):
    SHARDS = 4

    def near(self, got, want, within=1e-9):
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=within, rtol=0)

    def fill(self, name, keys, values, created, *more):
        keys = np.asarray(keys, np.float32)
        self.cli("create", name, "--dim", keys.shape[1], *created)
        if not isinstance(values, (str, type(self.folder))):
            values = self.save(f"{name}-values", values, np.float32 if "vector" in created else np.int64)
        self.cli("import", name, "--keys", self.save(f"{name}-keys", keys), "--values", values, *more)


class Attention(ReadOuts):
    def test_goldens_of_mem_ae(self):
        slots, z = [(1, 0), (0, 1), (1, 1), (-1, 0)], self.save("z", [(1, 0.5)])
        for metric, shrink, weights in (
            ("ip", 0, (0.294934162, 0.178886612, 0.486264227, 0.039914998)),
            ("ip", 0.2, (0.377540669, 0, 0.622459331, 0)),
            ("cosine", 0, (0.349367701, 0.223388265, 0.368846681, 0.058397353)),
            ("cosine", 0.3, (0.4864393, 0, 0.5135607, 0)),
        ):
            name = f"slots-{metric}-{shrink}"
            self.fill(name, slots, slots, ["--metric", metric, "--value", "vector", "--value-dim", 2])
            got = self.cli("attention", name, "--keys", z, "--shrink", shrink, "--weights")["queries"][0]
            all_weights = np.zeros(4)
            all_weights[got["ids"]] = got["weights"]
            self.near(all_weights, weights, 1e-9 if metric == "ip" else 1e-6)
            self.assertEqual(got["active"], sum(weight > 0 for weight in weights))
        shrunk = self.cli("attention", "slots-ip-0", "--keys", z, "--shrink", 0.2, "--out", self.at("z-hat"))
        self.near(shrunk["queries"][0]["output"], (1, 0.622459331))
        self.near(shrunk["queries"][0]["entropy"], 0.662847319)
        self.assertEqual(np.load(self.at("z-hat")).dtype, np.float64)
        self.assertEqual(np.load(self.at("z-hat")).tolist(), [shrunk["queries"][0]["output"]])
        nothing = self.cli("attention", "slots-ip-0", "--keys", z, "--shrink", 0.5)["queries"][0]
        self.assertEqual((nothing["output"], nothing["all_zero"], nothing["active"]), ([0, 0], True, 0))

    def test_goldens_of_res_mem(self):
        self.fill("residuals", [[0], [1], [2], [-2], [5]], np.eye(5),
                  ["--metric", "l2", "--value", "vector", "--value-dim", 5])
        ask = ["attention", "residuals", "--keys", self.save("origin", [[0]]), "--kernel", "exp_neg_distance"]
        got = self.cli(*ask, "-k", 3, "--scale", 1, "--keep-ties", "--weights")["queries"][0]
        self.near(got["output"], (0.610295685, 0.224515236, 0.082594539, 0.082594539, 0))
        self.assertEqual((got["found"], got["ids"], got["ties_cut"]), (4, [0, 1, 2, 3], False))
        self.near(got["log_total_mass"], np.log(1 + np.exp(-1) + 2 * np.exp(-2)))
        got = self.cli(*ask, "-k", 5, "--scale", 2)["queries"][0]
        self.near(got["output"], (0.412477521, 0.250180263, 0.151742, 0.151742, 0.033858217))
        self.fails(2, "--scale", *ask, "--scale", 0)
        self.fails(67, "shrink", *ask[:4], "--shrink", 1.5)
        self.fails(2, "there is no option --vocab", *ask[:4], "--vocab", "tokens.txt")

    def test_goldens_of_to_m_my(self):
        keys, values = [(1, 0), (0, 1), (1, 1)], [(1, 0), (0, 1), (2, 2)]
        created = ["--metric", "cosine", "--value", "vector", "--value-dim", 2]
        self.fill("actors", keys, values, created, "--partition", 7)
        ask = ["attention", "actors", "--partition", 7, "--keys"]
        # The same group twice, and one of a single query: its output is that query's.
        queries = self.save("queries", [(1, 0), (1, 1), (1, 0), (1, 1), (1, 1)])
        groups = ["--contexts", self.save("contexts", [(1, 0)] * 3), "--group-offsets",
                  self.save("offsets", [0, 2, 4, 5], np.int64)]
        for metric, weights, out in (
            ("ip", (0.519249914, 0.480750086), (1.141878824, 0.986613233)),
            ("cosine", (0.523555286, 0.476444715), (1.142210450, 0.985657522)),
        ):
            got = self.cli(*ask, queries, *groups, "--context-metric", metric, "--groups-out", self.at("groups"))
            self.near([row["output"] for row in got["queries"][:2]],
                      [(1.178914721, 0.879895721), (1.101876987, 1.101876987)])
            self.near([row["group_weight"] for row in got["queries"]], [*weights, *weights, 1], 1e-8)
            self.near(got["groups"], [out, out, (1.101876987, 1.101876987)], 1e-7)
            self.assertEqual(np.load(self.at("groups")).tolist(), got["groups"])
        unknown = self.cli("attention", "actors", "--partition", 99, "--keys", queries)["queries"][0]
        self.assertEqual((unknown["found"], unknown["output"]), (0, [0, 0]))
        equal = [*ask, self.save("four", [(1, 0), (1, 1)] * 2), "--contexts"]
        self.near(self.cli(*equal, self.save("two", [(1, 0)] * 2))["groups"], [(1.141878824, 0.986613233)] * 2, 1e-7)
        self.fails(1, "contexts.npy has 3 rows, which does not divide 4 queries", *equal, self.at("contexts"))
        self.fails(1, "offsets must ascend from 0 to 4", *equal, self.at("contexts"), *groups[2:])
        self.fails(2, "--contexts", "attention", "actors", "--keys", queries, *groups[2:])
        self.assertRegex(self.text(*equal, self.at("two")), "group 1: 1.14188 0.98661")


class NeuralPriming(ReadOuts):
    def test_goldens_of_centroids_and_their_mix_with_text(self):
        self.fill("images", [(1, 0), (0, 1), (0.6, 0.8)], [0, 0, 0], ["--metric", "ip", "--value", "token"], "--labels",
                  self.save("labels", [0, 1, 0], np.int64))
        text = self.save("text", [(1, 0), (0, 1), (-1, 0)])
        ask = ["centroids", "images", "--labels", "0,1,2"]
        got = self.cli(*ask, "--rows", text, "--mix-weight", 0.7, "--out", self.at("c"), "--mixed-out", self.at("w"))
        got = got["centroids"]
        self.near([row["centroid"] for row in got], [(0.894427191, 0.447213595), (0, 1), (0, 0)], 1e-7)
        self.near([row["mixed"] for row in got], [(0.968328157, 0.134164079), (0, 1), (-0.7, 0)], 1e-7)
        self.assertEqual([(row["entries"], row["zero"]) for row in got], [(2, False), (1, False), (0, True)])
        self.assertEqual(np.load(self.at("c")).tolist(), [row["centroid"] for row in got])
        self.assertEqual(np.load(self.at("w")).tolist(), [row["mixed"] for row in got])
        # A few shots more are entries more.
        shot = ["--keys", self.save("shot", [(0, -1)]), "--values", self.save("token", [0], np.int64)]
        self.cli("import", "images", *shot, "--labels", self.save("two", [2], np.int64), "--first-id", "append")
        self.near(self.cli(*ask)["centroids"][2]["centroid"], (0, -1))
        some = self.cli(*ask, "--only-ids", self.save("ids", [0, 1], np.int64))["centroids"]
        self.near(some[0]["centroid"], (1, 0))
        # What the nearest of some images is: 2 for one, 1 for the other.
        targets = self.save("targets", [(0.6, 0.8), (0, 0.1)])
        near = self.cli("centroids", "images", "--keys", targets, "-k", 1, "--exact")
        self.assertEqual([(row["label"], row["entries"]) for row in near["centroids"]], [(0, 1), (1, 1)])
        self.fails(2, "has 3 rows, but --labels names 2", "centroids", "images", "--labels", "0,1", "--rows", text)
        self.fails(2, "--mix-weight", *ask, "--rows", text, "--mix-weight", 1.5)
        self.fails(1, "has no ids", *ask, "--only-ids", self.save("none", [], np.int64))


class Coocmap(ReadOuts):
    def test_goldens_of_csls_in_both_forms(self):
        similarities = np.array([[0.9, 0.8, 0.1], [0.85, 0.2, 0.3], [0.4, 0.5, 0.6]])
        created = ["--metric", "ip", "--value", "token"]
        self.fill("source", similarities, [0, 1, 2], created)
        self.fill("target", np.eye(3), [0, 1, 2], created)
        csls = np.array([[0.0375, 0.05, -0.55], [0.125, -0.4125, -0.2125], [-0.3125, -0.1, 0.1]])
        for form, factor in (("half", 1), ("muse", 2)):
            ask = ["match", "target", "--from", "source", "--csls-k", 2, "--form", form]
            got = self.cli(*ask, "--out", self.folder / form)
            self.assertEqual([pair["target"] for pair in got["pairs"]], csls.argmax(1).tolist())
            self.near([pair["score"] for pair in got["pairs"]], factor * csls.max(1), 1e-6)
            self.assertEqual([pair["source"] for pair in got["backward"]], csls.argmax(0).tolist())
            self.near([pair["score"] for pair in got["backward"]], factor * csls.max(0), 1e-6)
            self.near([pair["mean"] for pair in got["pairs"]], [0.85, 0.575, 0.55], 1e-6)
            self.assertEqual(np.load(self.folder / form / "best_targets.npy").tolist(), csls.argmax(1).tolist())
            self.assertEqual(np.load(self.folder / form / "target_scores.npy").tolist(),
                             [pair["score"] for pair in got["pairs"]])
        plain = self.cli("match", "target", "--from", "source", "--csls-k", 0)["pairs"]
        self.assertEqual([pair["target"] for pair in plain], similarities.argmax(1).tolist())

    def test_columns_choose_what_is_compared(self):
        random = np.random.default_rng(SEED)
        source, target = random.normal(size=(5, 4)), random.normal(size=(6, 3))
        created = ["--metric", "ip", "--value", "token"]
        self.fill("wide", source, range(5), created)
        self.fill("narrow", target, range(6), created)
        columns = [self.save("left", [3, 0, 3], np.uint32), self.save("right", [1, 2, 2], np.uint32)]
        got = self.cli("match", "narrow", "--from", "wide", "--csls-k", 0, "--source-columns", columns[0],
                       "--target-columns", columns[1])["pairs"]
        want = np.float32(source)[:, [3, 0, 3]].astype(float) @ np.float32(target)[:, [1, 2, 2]].astype(float).T
        self.assertEqual([pair["target"] for pair in got], want.argmax(1).tolist())
        self.near([pair["score"] for pair in got], want.max(1), 1e-6)
        self.fails(2, "--target-columns", "match", "narrow", "--from", "wide", "--source-columns", columns[0])


class Selfmem(ReadOuts):
    def test_candidates_of_many_pools_are_imported_at_once_and_chosen(self):
        (self.folder / "texts.txt").write_text("".join(f"candidate {i}\n" for i in range(12)))
        scores = [0.1, 0.9, 0.5, 0.7, 0.7, 0.2, 3, 1, 2, -1, -3, -2]
        files = ["--scores", self.save("scores", scores, np.float64), "--partitions",
                 self.save("partitions", np.repeat([5, 6, 9, 2**40], 3), np.uint64), "--sources",
                 self.save("sources", np.arange(12) + 100, np.uint64), "--labels",
                 self.save("labels", range(12), np.int64)]
        self.fill("pools", np.ones((12, 1)), self.folder / "texts.txt", ["--metric", "l2", "--value", "bytes"], *files)
        pools = self.cli("select", "pools", "--all-partitions", "-n", 2)["pools"]
        self.assertEqual([pool["partition"] for pool in pools], [5, 6, 9, 2**40])
        self.assertEqual([[each["value"] for each in pool["chosen"]] for pool in pools],
                         [[f"candidate {i}" for i in best] for best in ((1, 2), (3, 4), (6, 8), (9, 11))])
        first = pools[0]["chosen"][0]
        self.assertEqual([first[name] for name in ("id", "score", "p", "label", "source")], [1, 0.9, 1, 1, 101])
        drawn = ["select", "pools", "--partition", 9, "--mode", "softmax", "--temperature", 2, "--seed"]
        p = np.exp(np.array([3, 1, 2]) / 2)
        seen = set()
        for seed in range(1, 30):
            chosen = self.cli(*drawn, seed)["pools"][0]["chosen"][0]
            self.assertEqual(chosen, self.cli(*drawn, seed)["pools"][0]["chosen"][0])
            self.near(chosen["p"], (p / p.sum())[chosen["id"] - 6])
            seen.add(chosen["id"])
        self.assertEqual(seen, {6, 7, 8})
        # The export of all pools is what import takes back.
        out = self.folder / "pools"
        self.cli("export", "pools", "--all-partitions", "--out", out)
        self.cli("create", "again", "--dim", 1, "--metric", "l2", "--value", "bytes")
        self.cli("import", "again", "--keys", out / "keys.npy", "--values", out / "values.npy", "--values-offsets",
                 out / "values_offsets.npy", *(part for name in ("ids", "scores", "partitions", "sources", "labels")
                                               for part in (f"--{name}", out / f"{name}.npy")))
        self.assertEqual(self.cli("select", "again", "--all-partitions", "-n", 2)["pools"], pools)

    def test_partitions_that_alternate_are_imported_whole(self):
        rows = 5000
        partitions = np.random.default_rng(SEED).integers(0, 3, rows)
        self.fill("mixed", np.ones((rows, 1)), range(rows), ["--metric", "l2", "--value", "token"], "--partitions",
                  self.save("mixed-partitions", partitions, np.int32))
        entries = self.cli("scan", "mixed", "--all-partitions")["entries"]
        self.assertEqual(sorted((entry["id"], entry["partition"]) for entry in entries),
                         list(enumerate(partitions.tolist())))
        files = ["import", "mixed", "--keys", self.at("mixed-keys"), "--values", self.at("mixed-values")]
        self.fails(1, "short.npy", *files, "--partitions", self.save("short", [1], np.int64))
        self.fails(1, "partition of row 2 is -1", *files, "--partitions",
                   self.save("below", np.where(np.arange(rows) == 2, -1, 0), np.int64))
        self.fails(2, "--partition", *files, "--partitions", self.at("mixed-partitions"), "--partition", 3)
        self.fails(2, "--first-id append", *files, "--partitions", self.at("mixed-partitions"), "--first-id", "append")


class RareEvents(ReadOuts):
    TRACE = [  # query, label, found value, action, written slot, evicted value
        ((1, 0), 1, None, "inserted", 0, None),
        ((0.6, 0.8), 1, 1, "merged", 0, None),
        ((0, 1), 2, 1, "inserted", 1, None),
        ((-1, 0), 3, 2, "inserted", 2, None),
        ((0, -1), 2, 3, "inserted", 0, 1),
        ((0, 1), 3, 2, "inserted", 1, 2),
    ]

    def test_the_published_trace_of_six_steps(self):
        self.cli("create", "rare", "--dim", 2, "--metric", "cosine", "--value", "bytes", "--capacity", 3)
        stream = ["--keys", self.save("stream", [step[0] for step in self.TRACE]), "--labels",
                  self.save("answers", [step[1] for step in self.TRACE], np.int64)]
        got = self.cli("remember", "rare", *stream, "--details", "--mask")
        self.assertEqual((got["queries"], got["correct"], got["merged"], got["inserted"]), (6, 1, 1, 5))
        details = got["details"]
        columns = [got["values"], *(details[name] for name in ("actions", "written_slots", "evicted_values"))]
        self.assertEqual(list(zip(*columns)), [step[2:] for step in self.TRACE])
        self.assertEqual(details["evicted_ages"][:5], [None, None, None, None, 3])
        self.assertEqual(details["correct"][:2], [None, True])
        self.near(details["similarities"][1], 0.6, 1e-6)
        self.assertEqual([len(mask["slots"]) for mask in details["masks"]], [0, 1, 1, 2, 3, 3])
        slots = self.cli("get", "rare", "--id", "0,1,2", "--with-keys")["entries"]
        self.near([slot["key"] for slot in slots], [(0, -1), (0, 1), (-1, 0)], 1e-6)
        self.assertEqual([slot["label"] for slot in slots], [2, 3, 3])
        tested = self.cli("remember", "rare", *stream, "--no-learn")
        self.assertEqual((tested["merged"], tested["inserted"]), (0, 0))
        self.assertEqual(self.cli("get", "rare", "--id", "0,1,2", "--with-keys")["entries"], slots)
        self.fails(2, "--choose-k", "remember", "rare", *stream, "--choose-k", 0)
        self.fails(2, "--alpha", "remember", "rare", *stream, "--alpha", -1)


class RetoMaton(ReadOuts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random = np.random.default_rng(SEED)
        cls.keys = random.normal(size=(60, 4)).astype(np.float32)
        cls.queries = random.normal(size=(5, 4)).astype(np.float32)
        cls.tokens = random.integers(0, 6, 60)
        cls.cli("create", "text", "--dim", 4, "--metric", "l2", "--value", "token", "--vocab-size", 6)
        cls.cli("import", "text", "--keys", cls.save("keys", cls.keys), "--values",
                cls.save("tokens", cls.tokens, np.int64), "--sources",
                cls.save("documents", np.arange(60) // 20, np.int64))
        cls.ask = ["text", "--keys", cls.save("q", cls.queries), "--exact"]

    def distances(self, row, ids):
        return ((self.keys[ids].astype(float) - self.queries[row].astype(float)) ** 2).sum(1)

    def test_successors_stay_in_their_document(self):
        more = ["--successors", "--attributes", "--with-keys"]
        for row, got in enumerate(self.cli("query", *self.ask, "-k", 8, *more)["queries"]):
            self.assertEqual(got["ids"], np.argsort(self.distances(row, np.arange(60)), kind="stable")[:8].tolist())
            self.assertEqual(got["successors"], [None if i % 20 == 19 else i + 1 for i in got["ids"]])
            self.assertEqual(got["sources"], [i // 20 for i in got["ids"]])
            self.assertEqual(got["keys"], self.keys[got["ids"]].astype(float).tolist())

    def test_extra_candidates_join_the_neighbours(self):
        extra = np.random.default_rng(SEED + 1).permutation(60)[:15].reshape(5, 3)
        flat = ["--extra-ids", self.save("flat", extra.ravel(), np.int64), "--extra-offsets",
                self.save("offsets", np.arange(6) * 3, np.int64)]
        got = self.cli("query", *self.ask, "-k", 2, "--extra-ids", self.save("extra", extra, np.int64))["queries"]
        self.assertEqual(self.cli("query", *self.ask, "-k", 2, *flat)["queries"], got)
        for row, each in enumerate(got):
            nearest = np.argsort(self.distances(row, np.arange(60)), kind="stable")[:2]
            ids = np.array(sorted({*nearest.tolist(), *extra[row].tolist()}))
            order = ids[np.argsort(self.distances(row, ids), kind="stable")]
            self.assertEqual(each["ids"], order.tolist())
        distributions = self.cli("distribution", *self.ask, "-k", 2, *flat, "--features")["queries"]
        for row, each in enumerate(distributions):
            weights = np.exp(-np.array(got[row]["distances"]))
            want = np.bincount(self.tokens[got[row]["ids"]], weights / weights.sum(), 6)
            self.near(each["probs"], want[each["tokens"]])
            self.near(each["distances"], got[row]["distances"])
            self.near(each["log_total_mass"], np.log(weights.sum()))
            tokens = self.tokens[got[row]["ids"]].tolist()
            self.assertEqual(each["distinct"], [len(set(tokens[: i + 1])) for i in range(len(tokens))])
        wrong = [*flat, "--extra-sources", self.save("other", np.full(15, 99), np.int64)]
        self.assertTrue(all(len(each["ids"]) == 2 for each in self.cli("query", *self.ask, "-k", 2, *wrong)["queries"]))

    def test_what_is_wrong_names_the_file(self):
        ask = ["query", *self.ask, "-k", 2]
        four = self.save("four", np.zeros((4, 3)), np.int64)
        self.fails(1, "four.npy", *ask, "--extra-ids", four)
        flat = ["--extra-ids", self.save("flat", np.zeros(6), np.int64), "--extra-offsets"]
        self.fails(1, "offsets must ascend from 0 to 6", *ask, *flat, self.save("down", [0, 3, 2, 2, 2, 6], np.int64))
        self.fails(1, "has 3 offsets; 5 queries have 6", *ask, *flat, self.save("few", [0, 3, 6], np.int64))
        below = self.save("below", np.full((5, 2), -1) + [1, 0], np.int64)
        self.fails(1, "id of row 1 is -1", *ask, "--extra-ids", below)
        self.fails(2, "--extra-ids", *ask, "--extra-offsets", self.at("few"))


class SparseValues(ReadOuts):
    def test_sparse_values_are_imported_read_out_and_exported(self):
        # Two residuals over four classes: -0.5 on class 1 and 0.25 left for the others; 0.5 on 0, -0.5 on 3.
        files = ["--values-offsets", self.save("offsets", [0, 1, 3], np.int64), "--values-indices",
                 self.save("indices", [1, 0, 3], np.int32), "--values-remainders", self.save("remainders", [0.75, 0])]
        created = ["--metric", "l2", "--value", "sparse", "--vocab-size", 4]
        self.fill("sparse", [[0], [1]], self.save("components", [-0.5, 0.5, -0.5]), created, *files)
        want = [{"indices": [1], "components": [-0.5], "remainder": 0.75},
                {"indices": [0, 3], "components": [0.5, -0.5], "remainder": 0.0}]
        self.assertEqual([self.cli("get", "sparse", "--id", i)["entries"][0]["value"] for i in (0, 1)], want)
        got = self.cli("attention", "sparse", "--keys", self.save("zero", [[0]]), "-k", 1)["queries"][0]
        self.assertEqual((got["indices"], got["components"], got["elsewhere"]), ([1], [-0.5], 0.25))
        out = self.folder / "sparse"
        self.assertEqual(self.cli("export", "sparse", "--out", out)["rows"], 2)
        self.cli("create", "sparse-copy", "--dim", 1, *created)
        back = [part for name in ("offsets", "indices", "remainders")
                for part in (f"--values-{name}", out / f"values_{name}.npy")]
        self.cli("import", "sparse-copy", "--keys", out / "keys.npy", "--values", out / "values.npy", "--ids",
                 out / "ids.npy", *back)
        self.assertEqual([self.cli("get", "sparse-copy", "--id", i)["entries"][0]["value"] for i in (0, 1)], want)
        enter = ["import", "sparse", "--keys", self.at("sparse-keys"), "--values", self.at("components")]
        self.fails(2, "--values-offsets and --values-indices", *enter)
        self.fails(1, "index of row 2 is 4; must be in [0, 4)", *enter, *files[:2], "--values-indices",
                   self.save("beyond", [1, 0, 4], np.int64))
        self.fails(2, "--out is for vector values", "attention", "sparse", "--keys", self.at("zero"), "--out",
                   self.at("o"))
        self.cli("create", "plain", "--dim", 1, "--metric", "l2", "--value", "token")
        self.fails(2, "are of sparse values", "import", "plain", "--keys", self.at("sparse-keys"), "--values",
                   self.save("two", [1, 2], np.int64), *files[2:4])


class Numbers(ReadOuts):
    def test_json_and_arrays_hold_doubles_to_the_last_bit(self):
        random = np.random.default_rng(SEED)
        values = random.normal(size=(30, 3)).astype(np.float32)
        created = ["--metric", "l2", "--value", "vector", "--value-dim", 3]
        self.fill("precise", random.normal(size=(30, 2)), values, created)
        queries = self.save("p", random.normal(size=(7, 2)))
        done = run("--server", self.address, "attention", "precise", "--keys", queries, "-k", 9, "--out",
                   self.at("precise-out"), "-o", "json")
        outputs = np.array([row["output"] for row in json.loads(done.stdout)["queries"]])
        np.testing.assert_array_equal(outputs, np.load(self.at("precise-out")))
        self.assertTrue((outputs != outputs.astype(np.float32)).any())


if __name__ == "__main__":
    unittest.main(verbosity=1)
