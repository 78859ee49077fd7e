"""Network namespaces of a test's own: two clusters, whoever tests them, and a wire to cut.

    tests  <-- 10.77.1.0/24 -->  source  <== 10.77.3.0/24, the link ==>  destination
    tests  <-- 10.77.2.0/24 ----------------------------------------->  destination

Nothing is forwarded, so links between the clusters have the one wire; clients have the others and
are never cut off. All addresses and rules live and die inside the namespaces.
"""

import os
import subprocess
import sys

SOURCE_ADDRESS, DESTINATION_ADDRESS = "10.77.1.2", "10.77.2.2"
LINK_SOURCE, LINK_DESTINATION = "10.77.3.1", "10.77.3.2"
WIRE = "wire"


def ip(*words):
    """Runs iproute2's ip."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Namespaces:
    """Made by `with`; the tests' own one is entered by `inside`."""

    def __init__(self):
        self.prefix = f"ms{os.getpid()}"
        self.tests, self.source, self.destination = (
            f"{self.prefix}-{name}" for name in ("tests", "source", "destination"))
        self._made = []

    def __enter__(self):
        try:
            for name in (self.tests, self.source, self.destination):
                ip("netns", "add", name)
                self._made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
            self._join(self.tests, "to-source", "10.77.1.1", self.source, "to-tests", SOURCE_ADDRESS)
            self._join(self.tests, "to-replica", "10.77.2.1", self.destination, "to-tests",
                       DESTINATION_ADDRESS)
            self._join(self.source, WIRE, LINK_SOURCE, self.destination, WIRE, LINK_DESTINATION)
            self.drop(self.destination, "INPUT")
            self.heal()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__(None, None, None)
            said = (getattr(error, "stderr", "") or str(error)).strip()
            sys.exit("FAILED: this test needs root, Debian's iproute2 and iptables, and a kernel "
                     f"that makes network namespaces with veth and DROP rules: {said}")
        return self

    def __exit__(self, *_):
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    @staticmethod
    def _join(here, name, address, there, peer, peer_address):
        ip("-n", here, "link", "add", "name", name, "type", "veth", "peer", "name", peer,
           "netns", there)
        for namespace, device, own in ((here, name, address), (there, peer, peer_address)):
            ip("-n", namespace, "address", "add", f"{own}/24", "dev", device)
            ip("-n", namespace, "link", "set", device, "up")

    @staticmethod
    def command(namespace, *words):
        """The words of a command that runs inside a namespace."""
        return ["ip", "netns", "exec", namespace, *words]

    def drop(self, namespace, chain):
        """Lets packets of the link vanish: DROP, so that nobody is told."""
        flag = "-i" if chain == "INPUT" else "-o"
        self._iptables(namespace, "-A", chain, flag, WIRE, "-j", "DROP")

    def heal(self):
        """Lets everything through again."""
        for namespace in (self.source, self.destination):
            self._iptables(namespace, "-F")

    def _iptables(self, namespace, *words):
        subprocess.run(self.command(namespace, "iptables", "-w", *words), check=True,
                       capture_output=True, text=True)
