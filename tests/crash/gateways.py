#!/usr/bin/env python3
"""Gateways die in rounds: the link passes through two gateways in processes of their own, and one of
them is killed (kill -9) and started again every few seconds, under the load of idempotent producers.
Afterwards every acknowledged record must stand in source and replica exactly once, byte for byte.

usage: .venv/bin/python tests/crash/gateways.py [--rounds N] [--seed N] [--binary PATH] [--keep]
62 rounds take about three minutes: a gateway dies every three seconds or so.
"""

import atexit
import socket
import subprocess
import sys
import time
import tomllib

from clusters import COMMAND_S_MAX, wait_until
from rounds import PROGRESS_S_MAX, REPLICA, SOURCE, STREAM, Rounds, main

GATEWAYS = 2
PERIOD_S = 5


class GatewayProcess:
    """One gateway in front of the replica's server."""

    def __init__(self, clusters, number):
        server = clusters.status(REPLICA)["gateway"]
        given = next(path for path in clusters.home.rglob("mainstem.toml")
                     if tomllib.loads(path.read_text())["name"] == REPLICA)
        files = tomllib.loads(given.read_text())["gateway"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.config = clusters.home / f"gateway-{number}.toml"
        self.config.write_text("\n".join([
            f'name = "{REPLICA}"', f'server = "{server}"', "[gateway]",
            f'listen = "{self.address}"',
            *(f'{key} = "{files[key]}"' for key in ("ca", "certificate", "key")), ""]))
        self.binary = clusters.binary
        self.log = clusters.home / f"gateway-{number}.log"
        self.process = None

    def start(self):
        """Starts it, and waits until it listens."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [self.binary, "serve", "--roles", "gateway", "--config", str(self.config)],
                stdout=log, stderr=log)
        wait_until(f"{self.address} listens", self._listens, COMMAND_S_MAX)

    def _listens(self):
        if self.process.poll() is not None:
            raise TimeoutError(f"a gateway ended: {self.log.read_text()[-500:]}")
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()


class GatewayRounds(Rounds):
    """Rounds in which gateways are killed, and servers are not."""

    def __init__(self, clusters, seed, count, plant=False):
        super().__init__(clusters, seed, count, plant)
        self.kills = {"gateway": 0}
        self.gateways = [GatewayProcess(clusters, number) for number in range(GATEWAYS)]
        for gateway in self.gateways:
            gateway.start()
            # Not earlier: what is compared at the end comes by them too.
            atexit.register(gateway.kill)
        clusters.run("cluster", "gateway", "set", "-cluster", SOURCE, "-dstcluster", REPLICA,
                     "-gateways", " ".join(gateway.address for gateway in self.gateways))
        # The session that stands goes to the server itself; the next one passes a gateway.
        for verb in ("pause", "resume"):
            clusters.run("stream", "replica", verb, "-path", f"/mapr/{SOURCE}{STREAM}",
                         "-replica", f"/mapr/{REPLICA}{STREAM}")
        self._wait_linked()

    def wait_caught_up(self, seconds):
        """Also that it came by a gateway."""
        super().wait_caught_up(seconds)
        self._wait_linked()

    def _wait_linked(self):
        """Waits until a session stands, through one of the gateways."""
        addresses = [gateway.address for gateway in self.gateways]
        wait_until("the link passes a gateway", lambda: any(
            row["connected"] and row["gateway"] in addresses for row in self.clusters.rows(
                "stream", "replica", "list", "-path", f"/mapr/{SOURCE}{STREAM}")),
            PROGRESS_S_MAX)

    def _kill_one(self):
        self.kills["gateway"] += 1
        gateway = self.chance.choice(self.gateways)
        gateway.kill()
        time.sleep(self.chance.choice((0, 0.5, PERIOD_S / 2)))
        gateway.start()
        time.sleep(self.chance.uniform(0, PERIOD_S / 2))


if __name__ == "__main__":
    sys.exit(main(GatewayRounds, __doc__))
