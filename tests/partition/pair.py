"""Two servers of the binary under test, each in a namespace of its own, and how a test runs there."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time
import traceback

from clusters import ROOT, Clusters, wait_until
from namespaces import (
    DESTINATION_ADDRESS,
    LINK_DESTINATION,
    LINK_SOURCE,
    SOURCE_ADDRESS,
    Namespaces,
)

READY_S_MAX = 30
STOP_S_MAX = 30
LOG_LINES_SHOWN = 60


class Pair(Clusters):
    """Dev clusters, taken down and served again: clients reach them on the tests' wire, links
    reach their gateways on the other."""

    def __init__(self, binary, spaces, keep=False):
        super().__init__(binary, ["source", "replica"], keep)
        self.spaces = spaces
        self.servers = {}

    def __enter__(self):
        super().__enter__()
        try:
            self.run("dev", "down")
            places = {"source": (self.spaces.source, SOURCE_ADDRESS, LINK_SOURCE),
                      "replica": (self.spaces.destination, DESTINATION_ADDRESS, LINK_DESTINATION)}
            self._move(places)
            for name, (namespace, _, _) in places.items():
                self._serve(name, namespace)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *words):
        for server in self.servers.values():
            server.terminate()
        for server in self.servers.values():
            try:
                server.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        super().__exit__(*words)

    def _move(self, places):
        """Writes other addresses into the settings, and into the list of known clusters."""
        known = self.home / "clusters.toml"
        listed = known.read_text()
        for name, (_, clients, links) in places.items():
            config = self._config(name)
            text = config.read_text()
            for section, address in (("kafka", clients), ("admin", clients), ("gateway", links)):
                found = re.search(rf"\[{section}\]\s+listen = \"127\.0\.0\.1:(\d+)\"", text)
                port = found.group(1)
                text = (text[:found.start()]
                        + found.group(0).replace("127.0.0.1", address) + text[found.end():])
                listed = listed.replace(f"127.0.0.1:{port}", f"{address}:{port}")
            config.write_text("insecure = true\n" + text.replace("insecure = false\n", ""))
        known.write_text(listed)

    def _config(self, name):
        (config,) = (self.home / "dev" / name).glob("*.toml")
        return config

    def _serve(self, name, namespace):
        log = pathlib.Path(self.home / f"{name}.log").open("ab")
        words = self.spaces.command(namespace, self.binary, "serve", "--config",
                                    str(self._config(name)))
        self.servers[name] = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
        wait_until(f"{name} serves", lambda: self._serves(name), READY_S_MAX)

    def _serves(self, name):
        if self.servers[name].poll() is not None:
            raise ChildProcessError(f"{name} ended: {self.log_text()[-2000:]}")
        done = subprocess.run([self.binary, "stream", "list", "-path", f"/mapr/{name}/", "-json"],
                              env=self.environment, capture_output=True, check=False, timeout=10)
        time.sleep(0.1)
        return done.returncode == 0

    def kafka(self, name):
        text = self._config(name).read_text()
        return re.search(r"\[kafka\]\s+listen = \"([^\"]+)\"", text).group(1)


def arguments(document):
    """A parser of what all of these tests take."""
    parser = argparse.ArgumentParser(description=document)
    parser.add_argument("--binary", default=str(ROOT / "target/release/mainstem"))
    parser.add_argument("--keep", action="store_true", help="leave the data in place")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


def run_apart(chosen, course):
    """Makes the namespaces, and runs the same command once more in the tests' own one. There
    `course(pair, spaces, failures)` does the work and adds what it finds wrong; an exception is one
    finding more. Returns the exit code."""
    if not chosen.inside:
        with Namespaces() as spaces:
            names = ",".join((spaces.tests, spaces.source, spaces.destination))
            words = [sys.executable, "-B", os.path.abspath(sys.argv[0]), *sys.argv[1:],
                     "--inside", names]
            command = spaces.command(spaces.tests, *words)
            return subprocess.run(command, check=False).returncode
    spaces = Namespaces()
    spaces.tests, spaces.source, spaces.destination = chosen.inside.split(",")
    failures = []
    with Pair(chosen.binary, spaces, chosen.keep) as pair:
        try:
            course(pair, spaces, failures)
        except Exception:  # pylint: disable=broad-exception-caught
            failures.append(traceback.format_exc())
        for failure in failures:
            print(f"FAIL  {failure}")
        if failures:
            print("\n".join(pair.log_text().splitlines()[-LOG_LINES_SHOWN:]))
    print("FAILED" if failures else "passed", flush=True)
    return 1 if failures else 0
