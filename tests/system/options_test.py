"""Every option of `mneme-server` and of `mneme`, given what it does not take: exit code 2, nothing begun, and a message
that names option, value, bound and, where it came from the environment, the variable.

The options are those that the programs list themselves (--help, `mneme completion`), with the bounds that they tell.
One whose kind is not known here, such as a new one of free text, makes this fail until it is in a table below.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import random
import re
import subprocess
import tempfile
import unittest
from typing import Any, Callable, Iterable, NamedTuple, Optional

import harness

# What no number and no word of any option is.
NONSENSE = "nonsense"
NO_NUMBERS = ("", " ", NONSENSE, "0x10", "1e3", "1.5", "1 2", "NaN", str(-(2**63) - 1), str(2**64))
NO_REALS = ("", NONSENSE, "NaN", "inf", "-inf", "1e999", "0x")
UNITS = {"": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50, "EiB": 60}


class Done(NamedTuple):
    code: int
    text: str  # of stderr
    out: str
    left: list[str]  # in the directory that it ran in, which was empty


class Case(NamedTuple):
    words: list[str]
    says: list[str]  # each a part of the message
    variables: dict[str, str] = {}


def run(program: str, words: Iterable[Any], variables: dict[str, str], folder: pathlib.Path) -> Done:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        done = subprocess.run(
            [str(harness.BIN / program), *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=scratch,
            env={**environment, **variables},
            timeout=60,
        )
        return Done(done.returncode, done.stderr.decode(), done.stdout.decode(), sorted(os.listdir(scratch)))


class OptionsTest(unittest.TestCase):
    PROGRAM = ""
    folder: pathlib.Path
    random: random.Random

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="mneme-options-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.random = random.Random(harness.SEED)

    @staticmethod
    def each(call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """A process a processor, and one that waits."""
        with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
            return list(pool.map(call, items))

    @classmethod
    def run_one(cls, *words: Any, **variables: str) -> Done:
        return run(cls.PROGRAM, words, variables, cls.folder)

    def wrong_with(self, case: Case) -> str:
        """Nothing, when the case is refused as it should be."""
        shown = f"{' '.join(f'{name}={value!r}' for name, value in case.variables.items())} {case.words}"
        try:
            done = self.run_one(*case.words, **case.variables)
        except subprocess.TimeoutExpired:
            return f"{shown}: went on"
        lacks = [part for part in case.says if part not in done.text]
        if done.code == 2 and not done.left and not lacks and done.text.count("\n") == 1:
            return ""
        return f"{shown}: exit code {done.code}, left {done.left}, lacks {lacks}: {done.text[-500:]!r}"

    def refuse(self, cases: list[Case]) -> None:
        self.assertGreater(len(cases), 0)
        wrong = [each for each in self.each(self.wrong_with, cases) if each]
        if wrong:
            self.fail(f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong))
        harness.note(f"{len(cases)} refused")

    def some(self, items: list[Any], count: int) -> list[Any]:
        """All in the full form, otherwise others with each seed."""
        return items if harness.FULL or len(items) <= count else self.random.sample(items, count)


class ServerOption(NamedTuple):
    name: str
    kind: str  # flag, number, size, one of, text
    variable: str  # empty: none
    several: bool
    least: int = 0
    most: int = 0
    words: tuple[str, ...] = ()

    def bound(self) -> str:
        if self.kind == "flag":
            return "true or false"
        if self.kind == "one of":
            return f"one of {', '.join(self.words)}"
        if self.kind == "number":
            return f"a whole number in [{self.least}, {self.most}]"
        return "0, or a size such as 4GiB in ["

    def wrong(self) -> list[str]:
        """What is none of its kind, whatever else is given."""
        return {
            "flag": [NONSENSE, "2", "-1", "1x", str(2**64)],
            "one of": ["", NONSENSE, *(each for word in self.words[:1] for each in (word.upper(), word + " "))],
            "text": ["", "--check-config"],
            "number": list(NO_NUMBERS),
            "size": [*NO_NUMBERS, "G", "1.5GiB", "-1GiB", "1GiBs", "16EiB", f"{2**54}GiB"],
        }[self.kind]

    def beyond(self) -> list[str]:
        """Numbers that are out of its bounds."""
        if self.kind not in ("number", "size"):
            return []
        return [str(each) for each in (self.least - 1, self.most + 1, 2**63, 2**64) if not self.takes(each)]

    def takes(self, number: int) -> bool:
        return self.least <= number <= self.most or (self.kind == "size" and number == 0)

    def right(self) -> str:
        return {"flag": "true", "one of": self.words[0] if self.words else "", "text": "x"}.get(
            self.kind, str(self.least)
        )


def bytes_of(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", size).groups()  # type: ignore[union-attr]
    return int(number) << UNITS[unit]


def option_of(line: str) -> Optional[ServerOption]:
    """Of a line of --help, such as `  --shards UINT:[0, 256]=0 (Env:MNEME_SHARDS)`."""
    found = re.match(r"  (--[\w-]+)(?: (\S.*?))??(?: \(Env:(\w+)\))?(?:\s{2,}.*)?$", line)
    if found is None or found[1] == "--version":
        return None
    name, form, variable = found[1], found[2] or "", found[3] or ""
    several = form.endswith(" ...")
    if not form:
        return ServerOption(name, "flag", variable, True)
    if number := re.match(r"U?INT:\[(\d+), (\d+)\]", form):
        return ServerOption(name, "number", variable, several, int(number[1]), int(number[2]))
    if size := re.match(r"SIZE:\[(\w+), (\w+)\]", form):
        return ServerOption(name, "size", variable, several, bytes_of(size[1]), bytes_of(size[2]))
    if words := re.match(r"TEXT:\{([\w,]+)\}", form):
        return ServerOption(name, "one of", variable, several, words=tuple(words[1].split(",")))
    if re.match(r"TEXT(=| |$)", form):
        return ServerOption(name, "text", variable, several)
    raise AssertionError(f"an option of a kind that is not known here: {line}")


LISTEN = {"--listen": "127.0.0.1:0", "--admin-listen": "off"}
SHARDS = {"--shard-addresses": "127.0.0.1:1,127.0.0.1:2"}
# What makes a process of each role, and of each thing that is done instead of serving.
BASES: dict[str, dict[str, str]] = {
    "all": {"--data-dir": "data", **LISTEN},
    "frontend": {"--role": "frontend", **SHARDS, **LISTEN},
    "shard": {"--role": "shard", "--shard-number": "1", **SHARDS, "--data-dir": "data", **LISTEN},
    "restore": {"--restore-backup": "backups", "--data-dir": "data"},
    "push": {"--push-backups": "backups", "--object-store": "s3://bucket", "--object-store-settings": "settings"},
}
ROLES = ("all", "frontend", "shard")
ADDRESS = "must be HOST:PORT or [IPV6]:PORT with a port in [0, 65535]"
WRONG_ADDRESSES = ("nowhere", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", ":1", "::1:1")


class Text(NamedTuple):
    base: str
    wrong: tuple[str, ...]
    bound: str


# Options of free text: with what base each is looked at, what it does not take, and what is said then.
TEXTS = {
    "--data-dir": Text("shard", (), ""),
    "--listen": Text("frontend", WRONG_ADDRESSES, ADDRESS),
    "--listen-unix": Text("frontend", ("x" * 108,), "must be a path of at most 107 bytes"),
    "--port-file": Text("frontend", (), ""),
    "--admin-listen": Text("frontend", WRONG_ADDRESSES, ADDRESS),
    "--admin-port-file": Text("frontend", (), ""),
    "--backup-dir": Text("all", ("data", "data/backups", "./data/../data"), "must not be the --data-dir or in it"),
    "--verify-backup": Text("all", (), ""),
    "--restore-backup": Text("restore", (), ""),
    "--deployment": Text("restore", (NONSENSE, "12", "0x12345678901234", "0" * 16, "f" * 17), "16 hexadecimal digits"),
    "--until": Text("restore", (NONSENSE, "-1", "1,,2", str(2**64), "infinite-future", "2026-02-30T00:00:00Z"),
                    "must be a time, such as"),
    "--push-backups": Text("push", (), ""),
    "--pull-backups": Text("restore", (), ""),
    "--object-store": Text("push", (NONSENSE, "s3://", "s3://" + "b" * 64, "s3://b/../c", "s3://b/" + "p" * 513),
                           "must be s3://BUCKET or s3://BUCKET/PREFIX"),
    "--object-store-settings": Text("push", (), ""),
    "--shard-addresses": Text("frontend", (NONSENSE, "127.0.0.1:0", "127.0.0.1:1,x", "127.0.0.1:65536"),
                              "must be HOST:PORT with the port that the shard has"),
    "--log": Text("frontend", (NONSENSE, "kafka://k:1", "kafka://k:0/t", "kafka://k:65536/t", "kafka://k:1/a b",
                               "kafka://k:1/" + "t" * 250), "must be kafka://HOST:PORT[,HOST:PORT...]/TOPIC"),
    "--log-settings": Text("frontend", (), ""),
    "--drain-delay": Text("all", (NONSENSE, "5", "-1s", "301s", "5m1ns", "inf", "NaN", "1e999h", str(2**64)),
                          "must be a time such as 5s or 500ms in [0s, 5m]"),
    "--tls-certificate": Text("frontend", (), ""),
    "--tls-key": Text("frontend", (), ""),
    "--tls-client-ca": Text("frontend", (), ""),
    "--tokens": Text("frontend", (), ""),
    "--shard-tls-ca": Text("frontend", (), ""),
    "--shard-tls-certificate": Text("frontend", (), ""),
    "--shard-tls-key": Text("frontend", (), ""),
    "--shard-token-file": Text("frontend", (), ""),
}
KEY = "x" * 40  # a secret, which is shown nobody


class ServerOptions(OptionsTest):
    PROGRAM = "mneme-server"
    options: dict[str, ServerOption]
    environment: list[ServerOption]
    turn = 0

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        lines = cls.run_one("--help").out.splitlines()
        cls.options = {each.name: each for each in map(option_of, lines) if each is not None}
        cls.environment = [each for each in cls.options.values() if each.variable]

    def base(self, option: ServerOption) -> dict[str, str]:
        """Without the option: roles in turn, where it does not matter."""
        self.turn += 1
        name = TEXTS[option.name].base if option.name in TEXTS else ROLES[self.turn % len(ROLES)]
        return {key: value for key, value in BASES[name].items() if key != option.name}

    def by_flag(self, option: ServerOption, value: str, bound: str, base: dict[str, str]) -> Case:
        words = [word for pair in base.items() for word in pair]
        given = [f"{option.name}={value}"] if option.kind == "flag" else [option.name, value]
        return Case([*words, *given], [f'{option.name} is "{value}"; ', bound])

    def by_variable(self, option: ServerOption, value: str, bound: str, base: dict[str, str]) -> Case:
        words = [word for pair in base.items() for word in pair]
        says = [f'{option.name} is "{value}"; ', bound, "; from the environment: ", option.variable]
        return Case(words, says, {option.variable: value})

    def test_every_option_of_free_text_is_known_here(self) -> None:
        self.assertGreater(len(self.options), 40)
        names = {each.name for each in self.options.values() if each.kind == "text"}
        self.assertEqual(names, set(TEXTS))

    def test_what_is_no_value_of_its_kind_is_refused(self) -> None:
        cases = []
        for option in self.options.values():
            for value in [*self.some(option.wrong(), 3), *option.beyond()]:
                bound = f"must be {option.bound()}"
                if option.kind == "text":
                    bound = "must be a value, and not an option" if value else "must be given, and not empty"
                cases.append(self.by_flag(option, value, bound, self.base(option)))
        self.refuse(cases)

    def test_so_it_is_in_every_role(self) -> None:
        cases = []
        for role in ROLES:
            for option in self.some([each for each in self.options.values() if each.kind != "text"], 5):
                base = {key: value for key, value in BASES[role].items() if key != option.name}
                cases.append(self.by_flag(option, NONSENSE, f"must be {option.bound()}", base))
        self.refuse(cases)

    def test_so_it_is_from_the_environment_whose_variable_is_named(self) -> None:
        cases = []
        for option in self.environment:
            if option.kind != "text":
                wrong = [value for value in option.wrong() if value]  # one that is empty says nothing
                for value in [*self.some(wrong, 1), *self.some(option.beyond(), 1)]:
                    cases.append(self.by_variable(option, value, f"must be {option.bound()}", self.base(option)))
        self.refuse(cases)

    def test_text_that_means_nothing_is_refused(self) -> None:
        cases = []
        for name, text in TEXTS.items():
            option = self.options[name]
            for value in text.wrong:
                says = [f"{name} ", value.split(",")[-1] if name == "--shard-addresses" else value, text.bound]
                cases.append(self.by_flag(option, value, text.bound, self.base(option))._replace(says=says))
            if option.variable and text.wrong:
                case = self.by_variable(option, text.wrong[0], text.bound, self.base(option))
                cases.append(case._replace(says=[f"{name} ", text.wrong[0], text.bound, f": {option.variable}"]))
        self.refuse(cases)

    def test_bounds_themselves_are_taken(self) -> None:
        def refused(pair: tuple[ServerOption, str]) -> str:
            option, value = pair
            words = [word for each in self.base(option).items() for word in each]
            done = self.run_one(*words, option.name, value, "--check-config")
            told = f'{option.name} is "{value}"; must be {option.bound()}'
            return f"{option.name} {value}: {done.text}" if told in done.text or done.code not in (0, 2) else ""

        ranges = [each for each in self.options.values() if each.kind in ("number", "size")]
        pairs = [(each, str(end)) for each in ranges for end in (each.least, each.most)]
        self.assertGreater(len(pairs), 10)
        self.assertEqual([each for each in self.each(refused, pairs) if each], [])

    def test_what_nobody_knows_is_refused(self) -> None:
        base = ["--data-dir", "data"]
        cases = [
            Case([*base, "--wholly-else"], ["unknown option --wholly-else; see --help"]),
            Case([*base, "--wholly-else=3"], ["unknown option --wholly-else; see --help"]),
            Case([*base, "-x"], ["not expected: -x"]),
            Case([*base, "stray"], ["not expected: stray"]),
        ]
        for name in self.some(list(self.options), 6):
            slip = name[:-1]
            if slip not in self.options:
                cases.append(Case([*base, slip, "1"], [f"unknown option {slip}; did you mean --"]))
        self.refuse(cases)

    def test_an_option_is_given_once(self) -> None:
        once = [each for each in self.options.values() if not each.several]
        cases = []
        for option in self.some(once, 8):
            words = [word for pair in self.base(option).items() for word in pair]
            twice = [option.name, option.right()] * 2
            cases.append(Case([*words, *twice], [f"{option.name}: At Most 1 required but received 2"]))
        self.refuse(cases)

    def checked(self, *words: str, **variables: str) -> str:
        done = self.run_one("--data-dir", "data", *words, "--check-config", **variables)
        self.assertEqual((done.code, done.text, done.left), (0, "", []))
        return done.out

    def test_variables_that_say_nothing_and_those_of_others_are_not_looked_at(self) -> None:
        plain = self.checked()
        self.assertEqual(self.checked(**{each.variable: "" for each in self.environment}), plain)
        others = ["--" + name.replace("_", "-").lower() for name in ("SHARD_0_PORT", "TOKEN", "NO_SUCH")]
        silent = [each.name for each in self.options.values() if not each.variable]
        self.assertIn("--restore-backup", silent)
        names = ["MNEME_" + name[2:].replace("-", "_").upper() for name in [*others, *silent]]
        self.assertEqual(self.checked(**{name: NONSENSE for name in names}), plain)

    def test_a_flag_wins_over_a_variable(self) -> None:
        number = next(each for each in self.environment if each.kind == "number")
        given = self.checked(number.name, str(number.most))
        self.assertEqual(self.checked(number.name, str(number.most), **{number.variable: NONSENSE}), given)

    def file(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def test_files_are_named_with_the_line_that_is_wrong(self) -> None:
        log = {**BASES["frontend"], "--log": "kafka://127.0.0.1:1/t"}
        push = BASES["push"]
        good = f"endpoint=https://store\naccess-key=a\nsecret-key={KEY}\n"
        files = [
            ("--log-settings", log, "#\nsecurity.protokol=ssl\n", 'line 2 sets "security.protokol"; must be one'),
            ("--log-settings", log, "debug\n", 'line 1 has no "="'),
            ("--log-settings", log, "client.id=\n", "line 1 gives client.id no value"),
            ("--log-settings", log, "client.id=a\nclient.id=b\n", "line 2 sets client.id again"),
            ("--log-settings", log, "socket.timeout.ms=soon\n", 'sets socket.timeout.ms to "soon": '),
            ("--log-settings", log, "socket.timeout.ms=1\n", 'sets socket.timeout.ms to "1": '),
            ("--log-settings", log, "#" * 65_537, "65536 bytes"),
            ("--object-store-settings", push, good + "zone=eu\n", "line 4 names something else than endpoint, region,"),
            ("--object-store-settings", push, good + "region=e:u\n", "line 4 has a region that is not of letters"),
            ("--object-store-settings", push, good + "endpoint=https://b\n", "line 4 sets endpoint again"),
            ("--object-store-settings", push, "\nendpoint=store\n", "line 2 has an endpoint that is not of the form"),
            ("--object-store-settings", push, "endpoint=https://store\n", "lacks access-key or secret-key"),
            ("--tokens", BASES["frontend"], "model read:wiki\n", 'line 1: must be "mneme-tokens 1"'),
            ("--tokens", BASES["frontend"], "mneme-tokens 1\n\nmodel\n", "line 3: must be a name, a credential"),
            ("--tokens", BASES["frontend"], f"mneme-tokens 1\nm certificate:c requests/s:{2**51}\n", "line 2: "),
            ("--tokens", BASES["frontend"], "mneme-tokens 1\nm certificate:c own:wiki\n", "line 2: "),
            ("--shard-token-file", BASES["shard"], "short\n", "must have [16, 2048]"),
        ]
        cases = []
        for number, (name, base, text, says) in enumerate(files):
            option = self.options[name]
            path = self.file(f"file{number}", text)
            case = self.by_flag(option, path, says, {key: value for key, value in base.items() if key != name})
            cases.append(case._replace(says=[name, path, says]))
        for name in ("--tls-certificate", "--shard-tls-certificate"):
            files_of = [name, "missing", name.replace("certificate", "key"), self.file("no.pem", "no PEM\n")]
            ca = ["--shard-tls-ca", "missing"] if name.startswith("--shard") else []
            words = [word for pair in BASES["shard"].items() for word in pair]
            cases.append(Case([*words, *files_of, *ca], [name[: name.index("tls") + 4], "missing cannot be read"]))
        self.refuse(cases)

    def test_files_that_are_not_there_are_named_with_their_variable(self) -> None:
        cases = []
        for name, more in (("--log-settings", {"--log": "kafka://127.0.0.1:1/t"}), ("--tokens", {}),
                           ("--shard-token-file", {})):
            option = self.options[name]
            for path in ("missing", str(self.folder)):
                words = [word for pair in {**BASES["frontend"], **more}.items() for word in pair]
                says = [name, f"{path} ", "cannot be read", f"; from the environment: {option.variable}"]
                cases.append(Case(words, says, {option.variable: path}))
        self.refuse(cases)

    def test_files_that_others_may_change_or_read_are_refused(self) -> None:
        settings = f"endpoint=https://store\naccess-key=a\nsecret-key={KEY}\n"
        push = {key: value for key, value in BASES["push"].items() if key != "--object-store-settings"}
        log = {**BASES["frontend"], "--log": "kafka://127.0.0.1:1/t"}
        self.refuse([
            self.by_flag(self.options[name], path, bound, base)._replace(says=[name, path, bound])
            for name, path, bound, base in (
                ("--object-store-settings", self.file("open", settings, 0o640), "chmod 600", push),
                ("--log-settings", self.file("log", "client.id=a\n", 0o620), "chmod go-w", log),
                ("--tokens", self.file("tokens", "mneme-tokens 1\n", 0o602), "chmod go-w", BASES["frontend"]),
            )
        ])


# Options of the command line that take any text, empty or not, and those that have a form of their own.
ANY_TEXT = {("alias set", "--expected"), ("mask", "--string"), ("mask", "--written"), ("session list", "--prefix"),
            ("state put", "--value"), ("state cas", "--value")}
FORMS = {
    "--fingerprint": ("model", "modle=gpt2", "vocabulary_size=x", "model="),
    "--first-id": ("last", str(2**62), "-1", "1.5"),
    "--mix": ("two", "=0.5", "two=0", "two=1", "two=x", "two=nan", "two=0.5:x"),
    "--special": ("x", "4-0", "1-2-3", "-1"),
}
# Words that help has for what is a path, a name or a text, and which no number has.
TEXT_WORDS = re.compile(r"FILE(\.\w+)?|FOLDER|DIR|NAME|TEXT|MEMORY|SESSION NAME|INDEX|HEX|TIME|LOG|GRANT")
# And texts for which help has none of these, some since it does not show them.
TEXT_NAMES = {"--request-id", "--tls-certificate", "--tls-key", "--tls-server-name"}


class CliOption(NamedTuple):
    verb: str  # empty: of the program
    name: str
    takes_value: bool
    word: str  # that its help has for a value
    about: str

    def words(self, value: str) -> list[str]:
        """With an address that is none, so that no verb ever does anything."""
        verb = self.verb.split() or ["list"]
        if not self.takes_value:
            return ["--server", "nowhere", *verb, f"{self.name}={value}"]
        # CLI11 leaves the second of two words to a position that nothing else is there for.
        pair = [value, value, "memory"] if len(self.word.split()) == 2 else [value]
        return ["--server", "nowhere", *verb, self.name, *pair]


def word_of(name: str, text: str) -> str:
    """`FILE.npy` of `  --keys FILE.npy *   Queries`, a line of --help."""
    found = re.search(rf"^  (?:-\w,)?{name}(?:,[\w,-]+)? (SESSION NAME|[^\s(*]\S*)", text, re.M)
    return found[1] if found else ""


class CliOptions(OptionsTest):
    PROGRAM = "mneme"
    options: list[CliOption]
    verbs: list[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        at = r"(?: -n \"__mneme_at ' ([\w -]+)'\")?"
        line = re.compile(rf"complete -c mneme{at}((?: -[ls] [\w-]+)+)( -r)? -d '(.*)'$")
        listed = [found for each in cls.run_one("completion", "fish").out.splitlines() if (found := line.match(each))]
        verbs = sorted({found[1] or "" for found in listed})
        helps = dict(zip(verbs, cls.each(lambda verb: cls.run_one(*verb.split(), "--help").out, verbs)))
        cls.options = []
        for found in listed:
            verb, takes_value = found[1] or "", found[3] is not None
            spellings = re.findall(r"-([ls]) ([\w-]+)", found[2])
            name = next((f"--{word}" for how, word in spellings if how == "l"), f"-{spellings[0][1]}")
            if name not in ("--help", "--version"):
                cls.options.append(CliOption(verb, name, takes_value, word_of(name, helps[verb]), found[4]))
        cls.verbs = [verb for verb in verbs if verb]

    def distinct(self, options: list[CliOption], *fields: str) -> list[CliOption]:
        """Those that differ in these fields: what verbs have in common is declared once."""
        if harness.FULL:
            return options
        self.random.shuffle(options)
        return list({tuple(getattr(each, field) for field in fields): each for each in options}.values())

    def test_what_is_no_value_is_refused(self) -> None:
        self.assertGreater(len(self.options), 200)
        options = self.distinct([each for each in self.options if each.takes_value], "name", "about")
        options = [each for each in options if each.name != "--server"]
        told = self.each(lambda option: self.run_one(*option.words(NONSENSE)), options)
        kinds: dict[tuple[str, str], list[tuple[CliOption, str]]] = {}
        unknown = []
        for option, done in zip(options, told):
            found = re.search(rf'(?:^|\s){option.name} is "{NONSENSE}"; must be (.*?)(?:; see: mneme .*)?\n', done.text)
            self.assertEqual((done.code, done.left), (2, []), f"{option} {done.text}")
            if found:
                kinds.setdefault((option.name, found[1]), []).append((option, found[1]))
            elif not TEXT_WORDS.fullmatch(option.word) and option.name not in TEXT_NAMES:
                unknown.append(f"{option} takes anything: {done.text}")
            else:
                kinds.setdefault((option.name, ""), []).append((option, ""))
        self.assertEqual(unknown, [])
        cases = []
        for same in kinds.values():
            for option, bound in same if harness.FULL else same[:1]:
                for value in self.wrong(option, bound):
                    cases.append(Case(option.words(value), [f'{option.name} is "{value}"; must be {bound}']))
        self.refuse(cases)

    def wrong(self, option: CliOption, bound: str) -> list[str]:
        """Of a kind that is told by the bound that the program names."""
        if not bound:
            return [] if (option.verb, option.name) in ANY_TEXT else self.some(["", "--quiet"], 1)
        if whole := re.fullmatch(r"a whole number in \[(-?\d+), (\d+)\]", bound):
            ends = [int(whole[1]) - 1, int(whole[2]) + 1]
            return [*self.some(list(NO_NUMBERS), 2), *(str(end) for end in ends)]
        if real := re.fullmatch(r"a number in \[(\S+), (\S+)\]", bound):
            ends = [f"{float(real[1]) - 1e-9:.12g}", f"{float(real[2]) * 1.001:.12g}"]
            return [*self.some(list(NO_REALS), 2), *ends]
        if bound in ("a number", "a number above 0", "a number from 0 on"):
            below = {"a number above 0": ["0", "-1"], "a number from 0 on": ["-1"]}.get(bound, [])
            return [*self.some(list(NO_REALS), 3), *below]
        if words := re.fullmatch(r"one of (.*)", bound):
            return ["", words[1].split(", ")[0].upper()]
        self.assertIn(option.name, FORMS, bound)
        return ["", *FORMS[option.name]]

    def test_flags_are_true_or_false(self) -> None:
        flags = self.distinct([each for each in self.options if not each.takes_value], "name")
        self.assertGreater(len(flags), 20)
        self.refuse([
            Case(each.words(value), [f'{each.name} is "{value}"; must be true or false'])
            for each in flags
            for value in self.some([NONSENSE, "2", "1x", "-1"], 1)
        ])

    def test_what_no_verb_has_is_refused(self) -> None:
        leaves = [verb for verb in self.verbs if not any(each.startswith(verb + " ") for each in self.verbs)]
        self.assertGreater(len(leaves), 40)
        cases = [
            Case([*verb.split(), "--no-such-thing"], [f"{verb}: there is no option --no-such-thing"]) for verb in leaves
        ]
        cases.append(Case([NONSENSE], [f'there is no verb "{NONSENSE}"; see: mneme --help']))
        cases.append(Case(["list", NONSENSE], [f"not expected: {NONSENSE}"]))
        self.refuse(cases)

    def test_an_option_is_given_once(self) -> None:
        whole = [each for each in self.options if each.takes_value and each.word in ("K", "D") and "," not in each.word]
        cases = []
        for option in self.some([each for each in whole if "repeatable" not in each.about], 6):
            words = [*option.words("1"), option.name, "1"]
            cases.append(Case(words, [f"{option.name}: At Most 1 required but received 2"]))
        self.refuse(cases)

    def test_positions_are_read_as_strictly(self) -> None:
        self.refuse([
            Case(["--server", "nowhere", "cluster", "add", NONSENSE, "a:1"], ['shard is "nonsense"; must be a whole']),
            Case(["--server", "nowhere", "cluster", "add", "256", "a:1"], ['shard is "256"; must be a whole number']),
            Case(["--server", "nowhere", "cluster", "drain", ""], ['address is ""; must be given, and not empty']),
            Case(["completion", NONSENSE], ['shell is "nonsense"; must be one of bash, zsh, fish']),
            Case(["info", ""], ['memory is ""; must be given, and not empty']),
            Case(["verify", ""], ['directory is ""; must be given, and not empty']),
            Case(["receipt", "show", NONSENSE], ['receipt is "nonsense"; must be MEMORY:PARTITIONS:ID']),
            Case(["plan", "--entries", "1", "--dim", "2", "--index", NONSENSE], ["--index", NONSENSE]),
            Case(["token", "x", "--grant", "own:*"], ["--grant", "own:*", "must be read:, write: or admin:"]),
            Case(["restore", "b", "--data-dir", "d", "--until", "soon"], ['--until is "soon"; must be a time']),
            Case(["restore", "b", "--data-dir", "d", "--shard", "0", "--deployment", "12"], ['--deployment is "12"']),
        ])

    def test_the_server_and_who_one_is_are_named_with_their_variables(self) -> None:
        cases = []
        for address in ("", "nowhere", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", ":1", "unix:"):
            must = "must be given, and not empty" if not address else "must be HOST:PORT or unix:PATH"
            cases.append(Case(["list", "--server", address], ["--server", f'is "{address}"', must]))
        for variable, value, says in (
            ("MNEME_SERVER", "nowhere", "--server: "),
            ("MNEME_TLS_CA", "missing", "--tls-ca"),
            ("MNEME_TOKEN_FILE", "missing", "--token-file"),
            ("MNEME_TLS", NONSENSE, f'--tls is "{NONSENSE}"; must be true or false'),
            ("MNEME_INSECURE_TOKEN", "2", '--insecure-token is "2"; must be true or false'),
        ):
            cases.append(Case(["list"], [says, value, f"; from the environment: {variable}"], {variable: value}))
        cases.append(Case(["list"], ["MNEME_TOKEN: "], {"MNEME_TOKEN": "short"}))
        cases.append(Case(["list", "--tls-key", "missing"], ["--tls-ca, --tls-certificate, --tls-key: "]))
        self.refuse(cases)


if __name__ == "__main__":
    harness.main()
