"""Who is let in: TLS, certificates of clients, tokens; what changes while a server runs; and that no secret is told."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from unittest import mock

import harness
import mneme
import numpy as np
from credentials import LOCAL, Authority, Load, make_token, replace, run_cli

ONCE = {"timeout": 5.0, "attempts": 1}


class Security(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o022))  # a token file that others may write is refused
        self.authority = Authority(self.scratch / "authority")
        self.tokens = self.scratch / "tokens"

    def start(self, *flags: str, security: mneme.Security = mneme.Security(), name: str = "data") -> harness.Server:
        server = harness.Server(self.scratch / name, *flags, security=security)
        self.addCleanup(server.kill)
        return server

    def connect(self, server: harness.Server, security: mneme.Security, **options: object) -> mneme.Client:
        client = mneme.connect(server.address, security=security, **{**ONCE, **options})
        self.addCleanup(client.close)
        return client

    def assert_no_connection(self, server: harness.Server, security: mneme.Security) -> None:
        with self.assertRaises((mneme.Unavailable, mneme.DeadlineExceeded)):
            self.connect(server, security).ping()

    def serial(self, server: harness.Server) -> str:
        """Of the certificate that the server shows now."""
        host, port = server.address.split(":")
        return ssl.get_server_certificate((host, int(port)))

    def reload(self, server: harness.Server) -> None:
        before = server.log.read_text().count("took the token file")
        os.kill(server.pid, signal.SIGHUP)
        end = time.monotonic() + 30
        while server.log.read_text().count("took the token file") == before:
            self.assertLess(time.monotonic(), end, server.tail_of_log())
            time.sleep(0.01)

    def refused(self, *flags: str) -> str:
        """What a server says that does not start."""
        command = [harness.BIN / "mneme-server", "--data-dir", self.scratch / "refused", "--listen", "127.0.0.1:0"]
        command += flags if "--admin-listen" in flags else ["--admin-listen", "off", *flags]
        done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertFalse((self.scratch / "refused").exists(), "nothing was begun")
        return done.stderr

    def test_a_server_beyond_this_machine_needs_tls_or_says_so_in_so_many_words(self) -> None:
        certificate, key = self.authority.issue("server")
        for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:7700", "memory.example.org:7700"):
            told = self.refused("--listen", address)
            self.assertIn(f'--listen is "{address}"; must be of this machine', told)
            self.assertIn("--tls-certificate and --tls-key are given, or --insecure-listen", told)
        tls = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        for flags, security in ((tls, self.authority.client()), (["--insecure-listen"], mneme.Security())):
            server = self.start(*flags, "--listen", "0.0.0.0:0", security=security, name="listening")
            self.assertIn("who reaches it may do all", server.log.read_text())
            server.stop()
        told = self.refused("--admin-listen", "0.0.0.0:0")
        self.assertIn('--admin-listen is "0.0.0.0:0"; must be of this machine', told)
        self.assertIn("--tls-certificate and --tls-key are given, or --insecure-admin-listen", told)

    def test_wrong_files_are_refused_at_the_start_by_name(self) -> None:
        certificate, key = self.authority.issue("server")
        other, other_key = self.authority.issue("other")
        old, old_key = self.authority.issue("old", days=-1)
        tls = ("--tls-certificate", certificate, "--tls-key", key)
        self.assertIn("the key is missing", self.refused("--tls-certificate", certificate))
        self.assertIn("the certificate is missing", self.refused("--tls-key", key))
        self.assertIn("without --tls-certificate", self.refused("--tls-client-ca", self.authority.ca))
        self.assertIn("is not that of the certificate", self.refused(*tls[:2], "--tls-key", other_key))
        self.assertIn("has expired", self.refused("--tls-certificate", old, "--tls-key", old_key))
        self.assertIn("cannot be read", self.refused(*tls, "--tls-client-ca", self.scratch / "none"))
        self.assertIn("cannot be read", self.refused("--tokens", self.scratch / "none"))
        self.tokens.write_text("model read:wiki\n")
        self.assertIn("line 1: must be", self.refused("--tokens", self.tokens))
        self.tokens.write_text("mneme-tokens 1\n")
        for mode in (0o666, 0o664):
            self.tokens.chmod(mode)
            self.assertIn("may be written by its group or by anybody", self.refused("--tokens", self.tokens))
        self.assertIn("may be written by", self.refused("--tokens", self.tokens, "--check-config"))

    def test_tls_is_kept_between_both_ends(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())
        memory = server.client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(1000, 8)).astype(np.float32)
        memory.insert(keys, np.arange(1000) % 100, ids=np.arange(1000))
        self.assertEqual(memory.query(keys[:5], 1, exact=True).ids.tolist(), list(range(5)))
        self.assert_no_connection(server, mneme.Security())
        foreign = Authority(self.scratch / "foreign")
        foreign.issue("server")
        self.assert_no_connection(server, foreign.client())
        self.assert_no_connection(server, mneme.Security(tls=True))
        # The name in the certificate counts, and may be named.
        misnamed = self.start(*self.authority.server_flags("misnamed", "DNS:memory.internal"), name="misnamed",
                              security=self.authority.client(server_name="memory.internal"))
        self.assert_no_connection(misnamed, self.authority.client())
        ca = {"MNEME_TLS_CA": self.authority.ca}
        for flags, environment in (
            (("--tls-server-name", "memory.internal"), ca),
            ((), {**ca, "MNEME_TLS_SERVER_NAME": "memory.internal"}),
        ):
            told = run_cli("--server", misnamed.address, *flags, "health", **environment)
            self.assertEqual(told.returncode, 0, told.stderr)
        self.assertNotEqual(run_cli("--server", misnamed.address, "--timeout", 3, "health", **ca).returncode, 0)
        with mock.patch.dict(os.environ, MNEME_TLS_CA=str(self.authority.ca), MNEME_TLS_SERVER_NAME="memory.internal"):
            with mneme.connect(misnamed.address, **ONCE) as client:
                client.ping()

        told = run_cli("--server", server.address, "--tls-ca", self.authority.ca, "list", "-o", "json")
        self.assertIn("wiki", told.stdout)
        by_environment = run_cli("health", MNEME_SERVER=server.address, MNEME_TLS_CA=self.authority.ca)
        self.assertEqual(by_environment.returncode, 0, by_environment.stderr)
        for flags in ([], ["--tls"], ["--tls-ca", foreign.ca]):
            self.assertEqual(run_cli("--server", server.address, "--timeout", 3, *flags, "list").returncode // 10, 7)
        self.assertIn("cannot be read", run_cli("--tls-ca", self.scratch / "none", "list").stderr)

    def test_old_protocols_and_weak_ciphers_are_refused(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())

        def handshake(*flags: str) -> int:
            command = ["openssl", "s_client", "-connect", server.address, "-alpn", "h2", *flags]
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode

        self.assertEqual(handshake("-tls1_3"), 0)
        self.assertEqual(handshake("-tls1_2"), 0)
        self.assertNotEqual(handshake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), 0)
        self.assertNotEqual(handshake("-tls1", "-cipher", "ALL:@SECLEVEL=0"), 0)
        for weak in ("RC4", "3DES", "NULL", "aNULL", "EXPORT", "MD5"):
            self.assertNotEqual(handshake("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0"), 0, weak)

    def test_a_unix_socket_is_plain_and_for_this_group_alone(self) -> None:
        path = self.scratch / "socket"
        token = make_token(self.tokens, "model", "read:*")
        server = self.start(*self.authority.server_flags(), "--listen-unix", str(path), "--tokens", str(self.tokens),
                            security=self.authority.client(token=token))
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)
        with mneme.connect(f"unix:{path}", security=mneme.Security(token=token), **ONCE) as client:
            client.ping()
        with mneme.connect(f"unix:{path}", security=mneme.Security(), **ONCE) as client:
            with self.assertRaises(mneme.PermissionDenied):
                client.ping()
        server.stop()

    def test_clients_prove_themselves_by_certificates(self) -> None:
        clients = Authority(self.scratch / "clients")
        clients.issue("unused")
        flags = self.authority.server_flags(client_ca=clients.ca)
        model = clients.issue("model")

        def of(pair: tuple[pathlib.Path, pathlib.Path]) -> mneme.Security:
            return mneme.Security(ca=self.authority.ca, certificate=pair[0], key=pair[1])

        server = self.start(*flags, security=of(model))
        server.client.ping()
        self.assert_no_connection(server, self.authority.client())
        self.assert_no_connection(server, of(self.authority.issue("of-another")))
        self.assert_no_connection(server, of(clients.issue("old", days=-1)))
        named = run_cli("--server", server.address, "ping", "-n", 1, MNEME_TLS_CA=self.authority.ca,
                        MNEME_TLS_CERTIFICATE=model[0], MNEME_TLS_KEY=model[1])
        self.assertEqual(named.returncode, 0, named.stderr)
        server.stop()

        # And are known by a name in them.
        lines = ("mneme-tokens 1", "model certificate:model read:wiki", "ops certificate:ops.internal admin:*", "")
        self.tokens.write_text("\n".join(lines))
        server = self.start(*flags, "--tokens", str(self.tokens), security=of(model))
        with self.assertRaisesRegex(mneme.PermissionDenied, 'needs the right "admin" on memory "wiki"'):
            server.client.create_memory("wiki", 8, vocab_size=100)
        ops = self.connect(server, of(clients.issue("ops", "DNS:ops.internal")))
        ops.create_memory("wiki", 8, vocab_size=100)
        self.assertEqual(server.client.memory("wiki").count(), 0)
        with self.assertRaises(mneme.PermissionDenied) as raised:
            self.connect(server, of(clients.issue("stranger", "DNS:stranger"))).ping()
        self.assertEqual(raised.exception.code.name, "UNAUTHENTICATED")

    def test_certificates_are_changed_under_load_without_a_failed_call(self) -> None:
        clients = Authority(self.scratch / "clients")
        certificate, key = clients.issue("model")
        # Copies, so that a new one does not take the place of the old while its client reads them.
        bundle = self.scratch / "bundle.pem"
        bundle.write_bytes(clients.ca.read_bytes())
        security = mneme.Security(ca=self.authority.ca, certificate=certificate, key=key)
        server = self.start(*self.authority.server_flags(client_ca=bundle), security=security)
        seen = {self.serial(server)}
        with Load(lambda: mneme.connect(server.address, security=security, timeout=30)).running() as load:
            for _ in range(4):
                self.authority.issue("server", *LOCAL)
                end = time.monotonic() + 30
                while self.serial(server) in seen:
                    self.assertLess(time.monotonic(), end, "the new certificate is not shown")
                    time.sleep(0.05)
                seen.add(self.serial(server))
            # The authority of the clients, too: first both, then the new one alone.
            others = Authority(self.scratch / "others")
            late = others.issue("model")
            replace(bundle, clients.ca.read_text() + others.ca.read_text())
            time.sleep(2.5)
        self.assertEqual(load.failures, [])
        harness.note(f"{load.calls} calls over 4 new certificates and a new authority, none failed")
        self.assertGreater(load.calls, 200)
        newer = mneme.Security(ca=self.authority.ca, certificate=late[0], key=late[1])
        with self.connect(server, security) as old, self.connect(server, newer) as new:
            old.ping()
            new.ping()
            replace(bundle, others.ca.read_text())
            time.sleep(2.5)
            old.ping()  # a connection goes on as it began
        self.assert_no_connection(server, security)
        self.connect(server, newer).ping()

    def test_broken_tls_files_fail_closed_and_heal(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())
        server.client.ping()
        certificate, key = self.authority.folder / "server.pem", self.authority.folder / "server.key"
        good = {path: path.read_text() for path in (certificate, key)}
        other = {path: path.with_name(path.name.replace("server", "other")) for path in (certificate, key)}
        self.authority.issue("other")
        for broken, text in ((certificate, "nothing\n"), (key, "nothing\n"), (key, other[key].read_text())):
            replace(broken, text)
            time.sleep(2.5)
            server.client.ping()
            self.assert_no_connection(server, self.authority.client())
            self.told_after_sighup(server, "the TLS files cannot be used")
            replace(broken, good[broken])
            time.sleep(2.5)
            self.connect(server, self.authority.client(), attempts=5, timeout=20).ping()

    def told_after_sighup(self, server: harness.Server, text: str) -> None:
        before = server.log.read_text().count(text)
        os.kill(server.pid, signal.SIGHUP)
        end = time.monotonic() + 30
        while server.log.read_text().count(text) == before:
            self.assertLess(time.monotonic(), end, server.tail_of_log())
            time.sleep(0.02)

    def test_a_broken_bundle_of_authorities_never_lets_in_who_has_no_certificate(self) -> None:
        clients = Authority(self.scratch / "clients")
        certificate, key = clients.issue("model")
        bundle = self.scratch / "bundle.pem"
        replace(bundle, clients.ca.read_text())
        model = mneme.Security(ca=self.authority.ca, certificate=certificate, key=key)
        server = self.start(*self.authority.server_flags(client_ca=bundle), security=model)
        for broken in ("", "nothing\n", clients.ca.read_text()[:200], None):
            if broken is None:
                bundle.unlink()
            else:
                replace(bundle, broken)
            time.sleep(2.5)
            self.assert_no_connection(server, self.authority.client())
            self.assert_no_connection(server, self.authority.client("of-another"))
            self.told_after_sighup(server, "the TLS files cannot be used")
            replace(bundle, clients.ca.read_text())
            time.sleep(2.5)
            self.connect(server, model, attempts=5, timeout=20).ping()

    def test_a_certificate_that_is_about_to_end_is_told(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())
        self.assertIn(f"the certificate in {self.authority.folder}/server.pem ends at 20", server.log.read_text())
        self.assertAlmostEqual(server.metrics()["mneme_tls_certificate_end_seconds"], time.time() + 86_400, delta=600)
        (self.authority.folder / "server.key").chmod(0o644)
        self.told_after_sighup(server, "may be read or written by others")

    def test_no_web_proxy_of_the_environment_is_shown_anything(self) -> None:
        token = make_token(self.tokens, "model", "read:*")
        server = self.start("--tokens", str(self.tokens), security=mneme.Security(token=token))
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
            with mock.patch.dict(os.environ, http_proxy=url, https_proxy=url, grpc_proxy=url):
                self.connect(server, mneme.Security(token=token)).ping()
                told = run_cli("--server", server.address, "list", MNEME_TOKEN=token)
            self.assertEqual(told.returncode, 0, told.stderr)
            proxy.settimeout(0.1)
            with self.assertRaises(TimeoutError):
                proxy.accept()

    def test_tokens_are_changed_under_load_without_a_failed_call(self) -> None:
        shown = self.scratch / "token"
        shown.write_text(make_token(self.tokens, "model", "read:*") + "\n")
        security = mneme.Security(token_file=shown)
        server = self.start("--tokens", str(self.tokens), security=security)
        with mneme.connect(server.address, security=security) as lasting:
            with Load(lambda: mneme.connect(server.address, security=security, timeout=30)).running() as load:
                for _ in range(3):
                    old = shown.read_text().strip()
                    new = make_token(self.tokens, "model", "read:*")
                    self.reload(server)
                    replace(shown, new + "\n")
                    time.sleep(2.6)  # until everybody has read it
                    lasting.ping()
                    lines = self.tokens.read_text().splitlines()
                    replace(self.tokens, "\n".join([lines[0], lines[-1]]) + "\n")
                    self.reload(server)
                    lasting.ping()
                    with self.assertRaises(mneme.PermissionDenied):
                        self.connect(server, mneme.Security(token=old)).ping()
            self.assertEqual(load.failures, [])
            harness.note(f"{load.calls} calls over 3 new tokens, none failed")

    def test_a_token_file_that_is_broken_is_not_taken(self) -> None:
        token = make_token(self.tokens, "model", "read:*")
        server = self.start("--tokens", str(self.tokens), security=mneme.Security(token=token))
        good = self.tokens.read_text()
        for broken, why in ((good[:-1], "does not end with a whole line"), ("", "does not end with a whole line"),
                            (good + "x sha256:12 admin:*\n", "line 3: a digest has 64 digits")):
            replace(self.tokens, broken)
            os.kill(server.pid, signal.SIGHUP)
            end = time.monotonic() + 30
            while why not in server.log.read_text():
                self.assertLess(time.monotonic(), end, server.tail_of_log())
                time.sleep(0.02)
            server.client.ping()
        # A pipe is not waited for.
        self.tokens.unlink()
        os.mkfifo(self.tokens)
        self.told_after_sighup(server, "it is no regular file")
        replace(self.tokens, "mneme-tokens 1\n")
        self.reload(server)
        with self.assertRaises(mneme.PermissionDenied):
            server.client.ping()
        self.assertTrue(server.alive())

    def test_sighup_without_tokens_changes_nothing(self) -> None:
        server = self.start()
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.3)
        server.client.ping()
        self.assertEqual(server.stop(), 0)

    def test_the_command_line_makes_and_shows_tokens(self) -> None:
        made = run_cli("token", "ops", "--grant", "admin:*")
        token, line = made.stdout.splitlines()
        self.assertTrue(token.startswith("mneme_"))
        self.assertTrue(line.startswith("ops sha256:"))
        self.assertNotIn(token, line)
        self.tokens.write_text(f"mneme-tokens 1\n{line}\n")
        limited = make_token(self.tokens, "model", "read:wiki", more=("--requests", "1000"))
        self.assertEqual(len(self.tokens.read_text().splitlines()), 3)
        server = self.start("--tokens", str(self.tokens), security=mneme.Security(token=token))
        file = self.scratch / "token"
        file.write_text(token + "\n")
        at = ("--server", server.address)
        create = ("create", "wiki", "--dim", 8, "--metric", "l2", "--value", "token", "--vocab-size", 100)
        self.assertEqual(run_cli(*at, "--token-file", file, *create).returncode, 0)
        self.assertEqual(run_cli(*at, "list", MNEME_TOKEN=limited).returncode, 0)
        self.assertEqual(run_cli(*at, "list", MNEME_TOKEN_FILE=file).returncode, 0)
        self.assertEqual(run_cli(*at, "health").returncode, 0)
        self.assertEqual(run_cli(*at, "list").returncode, 64 + 16)
        denied = run_cli(*at, "drop", "wiki", "--yes", MNEME_TOKEN=limited)
        self.assertEqual(denied.returncode, 64 + 7)
        self.assertIn('DropMemory needs the right "admin" on memory "wiki"', denied.stderr)
        # A new file is this user's alone, and a broken one is not added to.
        fresh = self.scratch / "fresh"
        make_token(fresh, "ops", "admin:*")
        self.assertEqual(fresh.stat().st_mode & 0o777, 0o600)
        fresh.write_text("something else\n")
        self.assertNotEqual(run_cli("token", "ops", "--grant", "admin:*", "--file", fresh).returncode, 0)
        self.assertEqual(fresh.read_text(), "something else\n")
        # A token of a name that has a quota shares it; without it a server would take neither line.
        before = self.tokens.read_text()
        refused = run_cli("token", "model", "--grant", "read:wiki", "--file", self.tokens)
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("line 4: differs in its quota", refused.stderr)
        self.assertEqual(refused.stdout, "", "no token that nobody knows")
        self.assertEqual(self.tokens.read_text(), before)
        make_token(self.tokens, "model", "read:wiki", more=("--requests", "1000"))
        self.reload(server)
        self.tokens.write_text(self.tokens.read_text().rstrip())
        self.assertIn("does not end with a whole line", run_cli("token", "x", "--file", self.tokens).stderr)
        for wrong in (["own:*"], ["read:Wiki"], ["read:a/x"]):
            self.assertEqual(run_cli("token", "ops", "--grant", *wrong).returncode, 2)

    def test_quotas_on_what_is_stored_outlive_restarts_and_give_way_to_deletions(self) -> None:
        ops = make_token(self.tokens, "ops", "admin:*")
        tenant = make_token(self.tokens, "tenant", "write:shared/7", more=("--stored-entries", "1000"))
        server = self.start("--tokens", str(self.tokens), security=mneme.Security(token=ops))
        keys = self.random.normal(size=(3000, 8)).astype(np.float32)
        values = np.zeros(3000, np.uint32)
        others = server.client.create_memory("shared", 8, vocab_size=100)
        others.insert(keys, values, ids=np.arange(3000))
        mine = self.connect(server, mneme.Security(token=tenant)).memory("shared")
        mine.insert(keys[:990], values[:990], ids=np.arange(990), partition=7)
        more = {"ids": np.arange(2000, 2011), "partition": 7}
        for _ in range(2):
            with self.assertRaises(mneme.ResourceExhausted) as raised:
                mine.insert(keys[:11], values[:11], **more)
            error = raised.exception
            self.assertEqual(error.reason, "STORED_QUOTA")
            self.assertIsNone(error.retry_after, "no waiting helps")
            self.assertEqual(error.metadata, {"caller": "tenant", "quota": "stored-entries", "bound": "1000",
                                              "used": "990"})
            self.assertIn('partition 7 of memory "shared" holds 990 entries, and 11 more do not fit', error.message)
            self.assertNotIn(tenant, error.message)
            self.assertEqual(server.metrics()['mneme_quota_refusals_total{quota="stored-entries"}'], 1)
            self.assertIn('"quota":"stored-entries"', server.log.read_text())
            server.restart()
            mine = self.connect(server, mneme.Security(token=tenant)).memory("shared")
        stream = ({"keys": keys[at : at + 5], "values": values[:5], "ids": np.arange(at, at + 5)}
                  for at in range(1000, 1100, 5))
        acknowledged = 0
        with self.assertRaises(mneme.ResourceExhausted):
            for each in mine.insert_stream(stream, partition=7):
                acknowledged += each.inserted
        self.assertEqual(acknowledged, 10)
        self.assertEqual(mine.count(partitions=[7]), 1000)
        mine.delete(ids=np.arange(11), partitions=[7])
        mine.insert(keys[:11], values[:11], **more)
        self.assertEqual(mine.count(partitions=[7]), 1000)
        # What the command line says.
        np.save(self.scratch / "keys.npy", keys[:5])
        np.save(self.scratch / "tokens.npy", values[:5])
        told = run_cli("--server", server.address, "import", "shared", "--partition", 7, "--keys",
                       self.scratch / "keys.npy", "--values", self.scratch / "tokens.npy", MNEME_TOKEN=tenant)
        self.assertEqual(told.returncode, 64 + 8, told.stderr)
        self.assertIn('quota of 1000 stored entries of "tenant"', told.stderr)
        self.assertIn("(RESOURCE_EXHAUSTED, STORED_QUOTA)", told.stderr)

    def test_who_writes_and_reads_beyond_his_quotas_is_told_what_and_when(self) -> None:
        ops = make_token(self.tokens, "ops", "admin:*")
        reader = make_token(self.tokens, "reader", "read:wiki", more=("--answered-bytes", "50000"))
        maker = make_token(self.tokens, "maker", "admin:own-*", more=("--memories", "2"))
        server = self.start("--tokens", str(self.tokens), security=mneme.Security(token=ops))
        wiki = server.client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(5000, 8)).astype(np.float32)
        wiki.insert(keys, np.zeros(5000, np.uint32), ids=np.arange(5000))
        read = self.connect(server, mneme.Security(token=reader), timeout=120).memory("wiki")
        began = time.monotonic()
        pages = [len(page.ids) for page in read.scan(page_size=1000, with_keys=True)]
        self.assertEqual(sum(pages), 5000, "a scan waits, and is whole")
        self.assertGreater(time.monotonic() - began, 1)
        with self.assertRaises(mneme.ResourceExhausted) as raised:
            for _ in range(100):
                read.query(keys[:100], 10, exact=True)
        self.assertEqual(raised.exception.reason, "RATE_LIMIT")
        self.assertEqual(raised.exception.metadata["quota"], "answered-bytes/s")
        self.assertGreater(raised.exception.retry_after, 0)
        client = self.connect(server, mneme.Security(token=maker))
        for name in ("own-1", "own-2"):
            client.create_memory(name, 8, vocab_size=100)
        with self.assertRaises(mneme.ResourceExhausted) as raised:
            client.create_memory("own-3", 8, vocab_size=100)
        self.assertEqual(raised.exception.metadata["quota"], "memories")
        client.drop_memory("own-1")
        client.create_memory("own-3", 8, vocab_size=100)

    def test_tokens_do_not_leave_this_machine_unencrypted(self) -> None:
        token = make_token(self.tokens, "model", "read:*")
        for told in (run_cli("--server", "192.0.2.1:7700", "list", MNEME_TOKEN=token).stderr,
                     self.message(lambda: mneme.connect("192.0.2.1:7700", security=mneme.Security(token=token)))):
            self.assertIn("a token would travel to 192.0.2.1:7700 unencrypted", told)
            self.assertNotIn(token, told)
        mneme.connect("192.0.2.1:7700", security=mneme.Security(token=token, insecure_token=True)).close()

    def message(self, call: object) -> str:
        with self.assertRaises(ValueError) as raised:
            call()  # type: ignore[operator]
        return str(raised.exception)

    def test_no_secret_is_told(self) -> None:
        token = make_token(self.tokens, "ops", "admin:*")
        stranger = "mneme_stranger-canary-0123456789"
        certificate, key = self.authority.issue("server")
        server = self.start("--tls-certificate", str(certificate), "--tls-key", str(key), "--tokens", str(self.tokens),
                            "--log-level", "debug", security=self.authority.client(token=token))
        server.client.create_memory("wiki", 4, vocab_size=100)
        canary = np.full((1, 4), 1234.5678, np.float32)
        server.client.memory("wiki").insert(canary, [77], ids=[4242])
        with self.assertRaises(mneme.PermissionDenied) as raised:
            self.connect(server, self.authority.client(token=stranger)).ping()
        # Metadata that is no token, and a handshake that is none.
        with socket.create_connection(server.address.split(":")) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nauthorization: Bearer {stranger}\r\n\r\n".encode())
            raw.settimeout(5)
            try:
                raw.recv(100)
            except OSError:
                pass
        replace(self.tokens, self.tokens.read_text() + f"broken {stranger}\n")
        os.kill(server.pid, signal.SIGHUP)
        admin = f"http://127.0.0.1:{server._admin_port_file.read_text().strip()}"
        pages = "".join(
            urllib.request.urlopen(f"{admin}/{page}", timeout=10).read().decode() for page in ("config", "metrics")
        )
        server.stop()
        told = server.log.read_text() + pages + str(raised.exception) + repr(mneme.Security(token=token))
        secrets = [token, stranger, token.removeprefix("mneme_"), "1234.5", key.read_text().splitlines()[1]]
        secrets += [word[7:] for word in self.tokens.read_text().split() if word.startswith("sha256:")]
        for secret in secrets:
            self.assertNotIn(secret, told)
        self.assertIn(str(key), pages, "files are named")


if __name__ == "__main__":
    harness.main()
