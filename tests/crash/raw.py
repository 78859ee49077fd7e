"""Just enough of the Kafka protocol to read stored batches as bytes, and to break it on purpose."""

import dataclasses
import socket
import struct

RESPONSE_BYTES_MAX = 256 << 20
BATCH_HEADER_BYTES = 61


@dataclasses.dataclass(frozen=True)
class Batch:
    """One stored batch: its range of offsets and every byte of it."""

    base: int
    next: int
    data: bytes


def connect(address, seconds=30):
    """Opens a socket to `host:port`."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)


def text(value):
    """A string with an int16 length, null when None."""
    if value is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(value)) + value.encode()


def request(key, version, body, correlation=1, flexible=False):
    """A whole frame with its length; header version 2 (with tags) when flexible."""
    header = struct.pack(">hhi", key, version, correlation) + text("crash-test")
    frame = header + (b"\0" if flexible else b"") + body
    return struct.pack(">i", len(frame)) + frame


def read_exactly(connection, count):
    """Reads so many bytes; the end of the stream is a ConnectionError."""
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise ConnectionError(f"closed after {len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)


def response(connection):
    """Reads one response without its length and correlation id."""
    (length,) = struct.unpack(">i", read_exactly(connection, 4))
    if not 4 <= length <= RESPONSE_BYTES_MAX:
        raise ConnectionError(f"a response of {length} bytes")
    return read_exactly(connection, length)[4:]


def fetch_body(topic, partition, offset, bytes_max, wait_ms=200):
    """Fetch version 10 for one partition, without a session."""
    one = struct.pack(">iiqqi", partition, -1, offset, -1, bytes_max)
    limits = struct.pack(">iiiibii", -1, wait_ms, 1, bytes_max, 0, 0, -1)
    topics = struct.pack(">i", 1) + text(topic) + struct.pack(">i", 1) + one
    return limits + topics + struct.pack(">i", 0)


class Fetcher:
    """One connection that fetches; errors of the server are exceptions."""

    def __init__(self, address):
        self.connection = connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def fetch(self, topic, partition, offset, bytes_max=4 << 20, wait_ms=200):
        """Returns (high watermark, log start, whole batches from the one that holds `offset`)."""
        body = fetch_body(topic, partition, offset, bytes_max, wait_ms)
        self.connection.sendall(request(1, 10, body))
        reply = response(self.connection)
        _, error, _, _, name_bytes = struct.unpack_from(">ihiih", reply)
        at = 16 + name_bytes + 4
        _, code, watermark, _, log_start, aborted = struct.unpack_from(">ihqqqi", reply, at)
        if error or code:
            raise ConnectionError(f"fetch {topic}/{partition}@{offset}: errors {error} {code}")
        at += 34 + 16 * max(aborted, 0)
        (length,) = struct.unpack_from(">i", reply, at)
        records = reply[at + 4:at + 4 + max(length, 0)]
        return watermark, log_start, list(split_batches(records, offset))

    def end(self, topic, partition):
        """The high watermark."""
        return self.fetch(topic, partition, 0, bytes_max=1, wait_ms=0)[0]

    def batches(self, topic, partition, end):
        """Every batch below `end`, from the first one kept."""
        offset = self.fetch(topic, partition, 0, bytes_max=1, wait_ms=0)[1]
        while offset < end:
            _, _, batches = self.fetch(topic, partition, offset, wait_ms=0)
            if not batches:
                raise ConnectionError(f"{topic}/{partition}: nothing at {offset}, end {end}")
            yield from batches
            offset = batches[-1].next


def split_batches(records, offset):
    """Cuts a record set into whole batches that end above `offset`; a cut last one is left out."""
    at = 0
    while at + BATCH_HEADER_BYTES <= len(records):
        base, length = struct.unpack_from(">qi", records, at)
        (last_delta,) = struct.unpack_from(">i", records, at + 23)
        if at + 12 + length > len(records):
            return
        batch = Batch(base, base + last_delta + 1, records[at:at + 12 + length])
        if batch.next > offset:
            yield batch
        at += 12 + length
