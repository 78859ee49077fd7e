#!/usr/bin/env python3
"""Peers that lie: each attack must end with its connection closed and an error in the server's
log (or an answer that refuses), with memory flat, while another client goes on undisturbed.

usage: .venv/bin/python tests/crash/hostile.py [--seed N] [--binary PATH]
"""

import argparse
import random
import resource
import select
import socket
import struct
import sys
import threading
import time

from confluent_kafka import Producer

import raw
from clusters import Clusters, forget_rss_peak, rss_bytes, rss_peak_bytes, wait_until

CLUSTER = "solo"
TOPIC = "hostile.t"
CLOSED_S_MAX = 20
# What a few thousand sockets and their buffers may take, and no more.
RSS_GROWTH_BYTES_MAX = 96 << 20
# What answers that nobody reads may hold: the server's room for fetch responses, and sockets.
RSS_GROWTH_DEAF_BYTES_MAX = 224 << 20
BYSTANDER_ACK_S_MAX = 5.0
CONNECTIONS = 3000
HALF_FRAMES = 400
CLAIM = 1 << 30


class Bystander(threading.Thread):
    """An ordinary producer that wants each record acknowledged soon, whatever others do."""

    def __init__(self, broker):
        super().__init__(name="bystander", daemon=True)
        self.acknowledged = 0
        self.slowest_s = 0.0
        self.failures = []
        self._stop_asked = threading.Event()
        self._producer = Producer({"bootstrap.servers": broker, "acks": "all", "linger.ms": 0,
                                   "enable.idempotence": True, "log_level": 2,
                                   "message.timeout.ms": 15_000})

    def run(self):
        """One record at a time."""
        while not self._stop_asked.wait(0.01):
            begun = time.monotonic()
            self._producer.produce(TOPIC, b"still here", on_delivery=self._told)
            if self._producer.flush(20):
                self.failures.append("a record is unanswered after 20 s")
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)

    def _told(self, error, _):
        if error is None:
            self.acknowledged += 1
        else:
            self.failures.append(str(error))

    def stop(self):
        """Ends the thread."""
        self._stop_asked.set()
        self.join()


class Door:
    """The server under attack."""

    def __init__(self, clusters, chance):
        self.clusters = clusters
        self.chance = chance
        self.kafka = clusters.kafka(CLUSTER)
        self.pid = clusters.pid(CLUSTER)

    def log_lines(self):
        """How many lines the server has logged."""
        return self.clusters.log_text().count("\n")

    def errors_logged(self, after):
        """The warnings and errors logged after so many lines."""
        lines = self.clusters.log_text().splitlines()[after:]
        return [line for line in lines if "WARN" in line or "ERROR" in line]

    def must_close(self, data, what, logged=True):
        """Sends bytes; the server must close the connection, and say so."""
        before = self.log_lines()
        connection = raw.connect(self.kafka, CLOSED_S_MAX)
        try:
            connection.sendall(data)
            while connection.recv(1 << 16):
                pass
        except TimeoutError:
            return f"{what}: still open after {CLOSED_S_MAX} s"
        except OSError:
            pass  # a reset is a close too
        finally:
            connection.close()
        if logged:
            try:
                wait_until("a line", lambda: self.errors_logged(before), 5)
            except TimeoutError:
                return f"{what}: closed without a warning or error in the log"
        return None

    def must_close_or_refuse(self, data, what):
        """Sends bytes; after a while the connection is closed or an answer has come."""
        connection = raw.connect(self.kafka, CLOSED_S_MAX)
        try:
            connection.sendall(data)
            connection.recv(1 << 16)
            return None
        except TimeoutError:
            return f"{what}: neither an answer nor a close after {CLOSED_S_MAX} s"
        except OSError:
            return None
        finally:
            connection.close()


def compact(count):
    """An unsigned varint of a compact length: count + 1."""
    number, parts = count + 1, bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def claims():
    """Frames whose arrays, strings and byte fields claim far more than the frame holds."""
    produce = raw.text(None) + struct.pack(">hi", -1, 1000)
    topic = struct.pack(">i", 1) + raw.text(TOPIC)
    fetch = struct.pack(">iiiibii", -1, 100, 1, 1 << 20, 0, 0, -1)
    yield "Produce 7, 12 bytes, 2^30 topics", raw.request(0, 7, produce + struct.pack(">i", CLAIM))
    yield ("Produce 7, 2^30 partitions",
           raw.request(0, 7, produce + topic + struct.pack(">i", CLAIM)))
    yield ("Produce 7, 2^30 bytes of records",
           raw.request(0, 7, produce + topic + struct.pack(">iii", 1, 0, CLAIM)))
    yield ("Produce 9, 2^30 topics", raw.request(
        0, 9, b"\0" + struct.pack(">hi", -1, 1000) + compact(CLAIM), flexible=True))
    yield ("Produce 9, a name of 2^30 bytes", raw.request(
        0, 9, b"\0" + struct.pack(">hi", -1, 1000) + compact(1) + compact(CLAIM), flexible=True))
    yield "Fetch 10, 2^30 topics", raw.request(1, 10, fetch + struct.pack(">i", CLAIM))
    yield "Metadata 4, 2^30 topics", raw.request(3, 4, struct.pack(">i", CLAIM))
    yield "Metadata 4, 2^31-1 topics", raw.request(3, 4, struct.pack(">i", 0x7FFF_FFFF))
    yield "OffsetFetch 5, 2^30 topics", raw.request(9, 5, raw.text("g") + struct.pack(">i", CLAIM))
    yield ("JoinGroup 2, metadata of 2^30 bytes", raw.request(
        11, 2, raw.text("g") + struct.pack(">ii", 6000, 6000) + raw.text("")
        + raw.text("consumer") + struct.pack(">i", 1) + raw.text("range")
        + struct.pack(">i", CLAIM)))
    yield ("ApiVersions 3, 2^30 tags", raw.request(
        18, 3, compact(1) + b"a" + compact(1) + b"b" + compact(CLAIM - 1), flexible=True))


def attack_claims(door):
    """Array elements and lengths that are not there."""
    return [door.must_close(frame, what) for what, frame in claims()]


def attack_lengths(door):
    """Length prefixes of 2 GiB, of nothing, and below zero."""
    return [door.must_close(struct.pack(">I", length) + b"\0\0\0\0", f"a length of {length:#x}")
            for length in (0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x4000_0000, 3)]


def attack_garbage(door):
    """Random bytes, alone, behind a right length, and behind a right header."""
    found = []
    for number in range(300):
        data = door.chance.randbytes(door.chance.randint(1, 2000))
        if number % 3 == 1:
            data = struct.pack(">i", len(data)) + data
        elif number % 3 == 2:
            key = door.chance.choice((0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20, 22))
            data = raw.request(key, door.chance.randint(0, 12), data)
        connection = raw.connect(door.kafka, CLOSED_S_MAX)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except TimeoutError:
            found.append(f"garbage {number}: open {CLOSED_S_MAX} s after our half was closed")
        except OSError:
            pass
        finally:
            connection.close()
    return found


def attack_bad_batches(door):
    """Records that are no batch, a wrong checksum, a count that is not there: refused."""
    head = raw.text(None) + struct.pack(">hi", -1, 1000) + struct.pack(">i", 1) + raw.text(TOPIC)
    found = []
    for what, batch in (("no batch", b"x" * 100), ("a short one", b"\0" * 30),
                        ("another checksum", lying_batch(1, 0)),
                        ("2^30 records", lying_batch(CLAIM, CLAIM - 1)),
                        ("a length of 2^30", struct.pack(">qi", 0, CLAIM) + b"\0" * 100)):
        body = head + struct.pack(">iii", 1, 0, len(batch)) + batch
        found.append(door.must_close_or_refuse(raw.request(0, 7, body), f"Produce with {what}"))
    return found


def lying_batch(count, last_delta):
    """A batch header without records whose checksum does not hold."""
    tail = struct.pack(">hiqqqhii", 0, last_delta, 0, 0, -1, -1, -1, count)
    return struct.pack(">qiibI", 0, 9 + len(tail), 0, 2, 0xDEAD_BEEF) + tail


def attack_half_frames(door):
    """Hundreds of frames that never end, each claiming tens of megabytes."""
    held = []
    try:
        for number in range(HALF_FRAMES):
            connection = raw.connect(door.kafka)
            claimed = (50 << 20) if number % 2 else 1000
            sent = 10 if number % 4 else 60_000
            connection.sendall(struct.pack(">i", claimed) + raw.request(0, 7, b"\0" * sent)[4:]
                               if sent < claimed else struct.pack(">i", claimed) + b"\0\0")
            held.append(connection)
        time.sleep(1.0)  # not a condition: the time in which the bystander must get through
        return []
    finally:
        for connection in held:
            connection.close()


def attack_many_closes(door):
    """Thousands of connections, open together and reset at once."""
    held = []
    for number in range(CONNECTIONS):
        connection = raw.connect(door.kafka)
        if number % 3 == 0:
            connection.sendall(b"\0\0")
        if number % 2 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        held.append(connection)
    for connection in held:
        connection.close()
    return []


def attack_deaf_reader(door):
    """Fetches asked for by the hundred on connections that never read an answer."""
    fetch = raw.request(1, 10, raw.fetch_body(TOPIC, 0, 0, 50 << 20))
    held = []
    try:
        for _ in range(20):
            connection = raw.connect(door.kafka)
            connection.setblocking(False)
            for _ in range(300):
                _, writable, _ = select.select([], [connection], [], 0.02)
                if not writable:
                    break
                try:
                    connection.send(fetch)
                except OSError:
                    break
            held.append(connection)
        time.sleep(1.0)  # as above
        return []
    finally:
        for connection in held:
            connection.close()


def attack_other_doors(door):
    """Garbage and great lengths at the gateway and at the admin door."""
    row = door.clusters.status(CLUSTER)
    found = []
    for name in ("gateway", "admin"):
        for data in (b"\x7f\xff\xff\xff" * 4, door.chance.randbytes(1000),
                     b"POST /rest/stream/create?path=/x HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 2147483647\r\n\r\n"):
            connection = raw.connect(row[name].removeprefix("http://"), CLOSED_S_MAX)
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except TimeoutError:
                found.append(f"{name}: open {CLOSED_S_MAX} s after our half was closed")
            except OSError:
                pass
            finally:
                connection.close()
    return found


ATTACKS = (attack_claims, attack_lengths, attack_garbage, attack_bad_batches, attack_half_frames,
           attack_many_closes, attack_deaf_reader, attack_other_doors)


def fill(broker, megabytes):
    """Some data to fetch, so that sizes settle before they are measured."""
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "log_level": 2,
                         "linger.ms": 5})
    for _ in range(megabytes):
        producer.produce(TOPIC, b"x" * 900_000)
        producer.poll(0)
    if producer.flush(60):
        raise TimeoutError("the first records are not acknowledged")


def run_attack(door, bystander, attack):
    """One attack; returns what is wrong."""
    before, acknowledged = rss_bytes(door.pid), bystander.acknowledged
    bystander.slowest_s = 0.0
    forget_rss_peak(door.pid)
    begun = time.monotonic()
    found = [one for one in attack(door) if one]
    seconds = time.monotonic() - begun
    wait_until("the bystander gets through",
               lambda: bystander.acknowledged > acknowledged or bystander.failures, 30)
    grown = rss_peak_bytes(door.pid) - before
    if grown > (RSS_GROWTH_DEAF_BYTES_MAX if attack is attack_deaf_reader
                else RSS_GROWTH_BYTES_MAX):
        found.append(f"memory grew by {grown >> 20} MiB")
    if bystander.slowest_s > BYSTANDER_ACK_S_MAX:
        found.append(f"another client waited {bystander.slowest_s:.1f} s")
    found += bystander.failures
    bystander.failures = []
    if door.clusters.pid(CLUSTER) != door.pid:
        found.append("the server is another process now")
    name = attack.__name__.removeprefix("attack_").replace("_", " ")
    print(f"{'FAIL' if found else 'ok'}  {name}: {seconds:.1f} s, peak +{grown / (1 << 20):.1f} "
          f"MiB, others: {bystander.acknowledged - acknowledged} records, slowest "
          f"{bystander.slowest_s * 1000:.0f} ms", flush=True)
    for sentence in found[:10]:
        print(f"      {sentence}")
    return not found


def main():
    """Runs every attack; exits 0 only if all were survived as they should be."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    chosen = options.parse_args()
    seed = random.SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    passed = 0
    with Clusters(chosen.binary, [CLUSTER]) as clusters:
        clusters.run("stream", "create", "-path", f"/mapr/{CLUSTER}/hostile", "-produceperm", "p",
                     "-consumeperm", "p", "-topicperm", "p")
        door = Door(clusters, random.Random(seed))
        fill(door.kafka, 200)
        bystander = Bystander(door.kafka)
        bystander.start()
        try:
            for attack in ATTACKS:
                passed += run_attack(door, bystander, attack)
        except (TimeoutError, OSError) as error:
            print(f"FAIL  {error}")
        bystander.stop()
        if passed < len(ATTACKS):
            clusters.print_evidence()
    print(f"{passed} passed, {len(ATTACKS) - passed} failed, seed {seed}")
    return 0 if passed == len(ATTACKS) else 1


if __name__ == "__main__":
    sys.exit(main())
