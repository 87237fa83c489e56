"""The admin address beyond this machine: TLS there, whom it tells what, and that Prometheus is given what it needs."""

from __future__ import annotations

import os
import pathlib
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any, Optional

import harness
import mneme
import yaml
from credentials import LOCAL, Authority, make_token, replace

MONITORING = harness.ROOT / "deploy" / "monitoring"
COMPOSE = yaml.safe_load((harness.ROOT / "deploy" / "compose.secure.yaml").read_text())


class Beyond(harness.Server):
    """Its admin address is beyond this machine, as far as it can tell."""

    ADMIN_LISTEN = "0.0.0.0:0"


class AdminPages(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o022))
        self.authority = Authority(self.scratch / "authority")
        self.tokens = self.scratch / "tokens"

    def start(self, *flags: str, security: mneme.Security) -> Beyond:
        server = Beyond(self.scratch / "data", *flags, security=security)
        self.addCleanup(server.kill)
        return server

    def get(
        self,
        server: harness.Server,
        page: str,
        token: str = "",
        ca: Optional[pathlib.Path] = None,
        certificate: Optional[tuple[pathlib.Path, pathlib.Path]] = None,
        name: str = "localhost",
    ) -> tuple[int, str]:
        """Status and text."""
        context = ssl.create_default_context(cafile=str(ca or self.authority.ca))
        if certificate is not None:
            context.load_cert_chain(*map(str, certificate))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{name}:{server.admin_port}/{page}", headers=headers)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def assert_no_connection(self, server: harness.Server, **how: Any) -> None:
        with self.assertRaises((urllib.error.URLError, ssl.SSLError, ConnectionError, OSError)):
            self.get(server, "healthz", **how)

    def serial(self, server: harness.Server) -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.admin_port))

    def test_it_is_encrypted_and_asks_who_reads_metrics_but_no_probe(self) -> None:
        ops = make_token(self.tokens, "ops", "admin:*")
        reader = make_token(self.tokens, "reader", "read:*")
        prometheus = make_token(self.tokens, "prometheus", more=("--metrics",))
        server = self.start(*self.authority.server_flags(), "--tokens", str(self.tokens),
                            security=self.authority.client(token=ops))
        for page in ("healthz", "readyz"):
            self.assertEqual(self.get(server, page)[0], 200)
        for token in ("", reader, "mneme_stranger-0123456789"):
            for page in ("metrics", "config", "version"):
                status, text = self.get(server, page, token)
                self.assertEqual(status, 401, page)
                self.assertNotIn("mneme_entries", text)
        for token in (prometheus, ops):
            status, text = self.get(server, "metrics", token)
            self.assertEqual(status, 200)
            self.assertIn("mneme_entries 0", text)
        self.assertEqual(self.get(server, "config", prometheus)[0], 200)
        with self.assertRaises(mneme.PermissionDenied):
            with mneme.connect(server.address, security=self.authority.client(token=prometheus), attempts=1) as client:
                client.memory("wiki").count()
        # Nothing in the clear, and nothing for who trusts another authority.
        with self.assertRaises((urllib.error.URLError, ConnectionError, OSError)):
            urllib.request.urlopen(f"http://127.0.0.1:{server.admin_port}/healthz", timeout=10)
        foreign = Authority(self.scratch / "foreign")
        foreign.issue("server")
        self.assert_no_connection(server, ca=foreign.ca)
        # A token that is taken out does not count any more.
        lines = self.tokens.read_text().splitlines()
        replace(self.tokens, "\n".join(line for line in lines if not line.startswith("prometheus ")) + "\n")
        os.kill(server.pid, signal.SIGHUP)
        end = time.monotonic() + 30
        while self.get(server, "metrics", prometheus)[0] != 401:
            self.assertLess(time.monotonic(), end, server.tail_of_log())
            time.sleep(0.05)
        told = server.log.read_text()
        for token in (ops, reader, prometheus):
            self.assertNotIn(token, told)

    def test_old_protocols_are_refused(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())

        def handshake(*flags: str) -> int:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.admin_port}", *flags]
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode

        self.assertEqual(handshake("-tls1_3"), 0)
        self.assertEqual(handshake("-tls1_2"), 0)
        self.assertNotEqual(handshake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), 0)
        for weak in ("RC4", "3DES", "NULL", "aNULL"):
            self.assertNotEqual(handshake("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0"), 0, weak)

    def test_a_new_certificate_is_taken_and_a_broken_one_leaves_the_old(self) -> None:
        server = self.start(*self.authority.server_flags(), security=self.authority.client())
        before = self.serial(server)
        self.authority.issue("server", *LOCAL)
        end = time.monotonic() + 30
        while self.serial(server) == before:
            self.assertLess(time.monotonic(), end, "the new certificate is not shown")
            time.sleep(0.1)
        self.assertEqual(self.get(server, "healthz")[0], 200)
        shown = self.serial(server)
        certificate = self.authority.folder / "server.pem"
        good = certificate.read_text()
        for broken in ("nothing\n", good[:200], ""):
            replace(certificate, broken)
            time.sleep(1.5)
            self.assertEqual(self.serial(server), shown)
            self.assertEqual(self.get(server, "healthz")[0], 200)
        replace(certificate, good)

    def test_certificates_of_clients_may_be_shown_and_are_checked(self) -> None:
        clients = Authority(self.scratch / "clients")
        model, scraper = clients.issue("model"), clients.issue("scraper")
        bundle = self.scratch / "bundle.pem"
        replace(bundle, clients.ca.read_text())
        security = mneme.Security(ca=self.authority.ca, certificate=model[0], key=model[1])
        server = self.start(*self.authority.server_flags(client_ca=bundle), security=security)
        self.assertEqual(self.get(server, "readyz")[0], 200, "a probe shows none")
        self.assertEqual(self.get(server, "metrics")[0], 401)
        self.assertEqual(self.get(server, "metrics", certificate=scraper)[0], 200)
        self.assert_no_connection(server, certificate=self.authority.issue("of-another"))
        self.assert_no_connection(server, certificate=clients.issue("old", days=-1))
        # Who is trusted no longer is not let in by what he had before.
        others = Authority(self.scratch / "others")
        late = others.issue("scraper")
        replace(bundle, others.ca.read_text())
        time.sleep(1.5)
        self.assert_no_connection(server, certificate=scraper)
        self.assertEqual(self.get(server, "metrics", certificate=late)[0], 200)

    def test_compose_and_prometheus_have_what_this_needs(self) -> None:
        """The processes as compose.secure.yaml has them, asked as prometheus.secure.yaml says."""
        environment = COMPOSE["services"]["mneme"]["environment"]
        self.assertNotIn("MNEME_INSECURE_LISTEN", environment)
        self.assertEqual(environment["MNEME_INSECURE_ADMIN_LISTEN"], "false", "the image says true")
        configured = yaml.safe_load((MONITORING / "prometheus.secure.yaml").read_text())
        jobs = {job["job_name"]: job for job in configured["scrape_configs"]}
        job = jobs["mneme-shard"]  # as alerts and dashboard call what holds entries
        self.assertEqual(job["scheme"], "https")
        (target,) = job["static_configs"][0]["targets"]
        self.assertEqual(target, "mneme:7701")
        self.assertIn("mneme", COMPOSE["services"])
        mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in COMPOSE["services"]["prometheus"]["volumes"]}
        self.assertEqual(mounted["/etc/prometheus/prometheus.yaml"], "./monitoring/prometheus.secure.yaml")
        wanted = {job["tls_config"]["ca_file"]: "./secrets/ca.pem",
                  job["authorization"]["credentials_file"]: "./secrets/prometheus.token"}
        for inside, outside in wanted.items():
            self.assertEqual(mounted[inside], outside)
        self.assertFalse(job["tls_config"].get("insecure_skip_verify", False))
        # The certificate that the first lines of compose.secure.yaml make is for the name that is asked for.
        named = job["tls_config"]["server_name"]
        self.assertIn(f"DNS:{named}", (harness.ROOT / "deploy" / "compose.secure.yaml").read_text())
        token = make_token(self.tokens, "prometheus", more=("--metrics",))
        ops = make_token(self.tokens, "ops", "admin:*")
        server = self.start(*self.authority.server_flags("server", f"DNS:{named}", "IP:127.0.0.1"), "--tokens",
                            str(self.tokens), security=self.authority.client(token=ops))
        status, text = self.get(server, job.get("metrics_path", "/metrics").lstrip("/"), token, name=named)
        self.assertEqual(status, 200)
        self.assertIn("mneme_serving 1", text)


if __name__ == "__main__":
    harness.main()
