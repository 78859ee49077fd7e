"""What must be true of a stream whose topics changed hands: where is what was acknowledged."""

import array
import collections
import subprocess
import types
import zlib

from confluent_kafka import Consumer, TopicPartition

from group import check_sessions
from load import REFUSED, read_name
from raw import Fetcher
from verify import Account, compare_bytes, read_all

KCAT_S_MAX = 60


class Reign:
    """A time in which one cluster owned the topics, under one term."""

    def __init__(self, owner, forced=False):
        self.owner = owner
        self.forced = forced  # by fail-over, so that the owner before was not asked
        self.term = None
        self.cut = {}  # (topic, partition) -> what both histories have in common ends there

    def __str__(self):
        return f"of {self.owner}, {'forced' if self.forced else 'planned'}, cut {self.cut}"

    def take_cut(self, rows, stream):
        """From the answer of `stream replica failover`."""
        self.term = rows[0]["term"]
        self.cut = {(f"{stream}.{row['topic']}", row["partition"]): row["offset"]
                    for row in rows if row.get("topic")}


class SetAside:
    """What the old master kept of its own when a reign began: name -> place of each record."""

    def __init__(self, reign):
        self.reign = reign
        self.found = {}
        self.checksums = {}  # (topic, partition) -> of the values, from the cut on


class ReignAccount(Account):
    """An acknowledged record is in the log, or, if that can be, among what was set aside."""

    def __init__(self, findings, course, asides):
        everyone = types.SimpleNamespace(all=course.load.all + course.resident.all,
                                         script=course.load.script)
        super().__init__(findings, everyone)
        self.course = course
        self.asides = asides
        self.movers = {one.number for one in course.load.all}

    def _lost(self, found, topic, partition):
        for producer in self.load.all:
            told = producer.told.get((topic, partition), ())
            eras = producer.eras.get((topic, partition), ())
            seen = found.get(producer.number, bytearray(len(told)))
            for number, (offset, era) in enumerate(zip(told, eras)):
                name = (producer.number, topic, partition, number)
                if offset == REFUSED:
                    self.findings.counts["refused"] += 1
                    if seen[number]:
                        self._judge_kept(name, era)
                elif offset >= 0 and seen[number]:
                    self.findings.counts["recognised"] += self._was_retried(name, offset, era)
                elif offset >= 0:
                    self._place_lost(name, offset, era)

    def _judge_kept(self, name, era):
        """A replica that is no owner yet may refuse to take again what it has; else nobody may."""
        self.findings.counts["refused and kept"] += 1
        if not any(reign.forced for reign in self.course.reigns[era:era + 2]):
            self.findings.add("refused, though taken", f"{name}, in reign {era}")

    def _was_retried(self, name, offset, era):
        """Whether a new owner acknowledged what it had got from the old one."""
        cut = self.course.reigns[era].cut.get(name[1:3], 0)
        return name[0] in self.movers and offset < cut

    def _place_lost(self, name, offset, era):
        """A record that is not in the log: only an old master may have acknowledged it, which had
        no synchronous replica, and it must have set it aside."""
        for number, aside in self.asides.items():
            may = era == number - 1 or (era == number and name[0] not in self.movers)
            if may and not self.course.synchronous and aside.found.get(name) == offset:
                self.findings.counts["lost window"] += 1
                return
        places = {number: aside.found[name] for number, aside in self.asides.items()
                  if name in aside.found}
        self.findings.add("lost", f"{name}, acknowledged as {offset} in reign {era}; set aside: "
                                  f"{places or 'no'}")


def expect_listed(course, asides):
    """What `stream replica list` says was set aside is what can be read, and nothing else."""
    link = course.clusters.rows("stream", "replica", "list", "-path", course.path["a"])[0]
    listed = {(row["keptIn"], row["partition"]): (row["from"], row["to"])
              for row in link["setAside"]}
    read = {}
    for aside in asides.values():
        for (topic, partition), checksums in aside.checksums.items():
            if checksums:
                cut = aside.reign.cut[topic, partition]
                name = f"{topic.partition('.')[2]}.setaside-{aside.reign.term}"
                read[name, partition] = cut, cut + len(checksums)
    if listed != read:
        course.findings.add("set aside and not listed", f"listed {listed}, read {read}")


def verify_reigns(course, plant):
    """Both sides byte for byte, each record in its place, and what the group was given."""
    here, there = course.kafka.values()
    asides = {number: read_aside(course, reign) for number, reign in enumerate(course.reigns)
              if reign.forced}
    expect_no_other_asides(course)
    expect_listed(course, asides)
    if plant:
        forget_one(course, asides)
    account = ReignAccount(course.findings, course, asides)
    logs = collections.defaultdict(list)
    for place in course.places:
        with Fetcher(here) as one, Fetcher(there) as other:
            end = one.end(*place)
            if other.end(*place) != end:
                course.findings.add("differing ends", f"{place}: {end}, {other.end(*place)}")
        compare_bytes(course.findings, here, there, *place, end)
        log = array.array("L", account.compare_records(here, there, *place, end))
        logs[place].append(log)
        for aside in asides.values():
            cut = aside.reign.cut[place]
            logs[place].append(log[:cut] + aside.checksums[place])
    check_sessions(course.findings, course.reader, logs)


def read_aside(course, reign):
    """Reads `<topic>.setaside-<term>` with two stock clients, as far as there is one."""
    aside, broker = SetAside(reign), course.kafka["a"]
    for place in course.places:
        topic, partition = f"{place[0]}.setaside-{reign.term}", place[1]
        aside.checksums[place] = array.array("L")
        low, high = bounds(broker, topic, partition)
        if low == high:
            continue
        cut = reign.cut[place]
        if low != cut:
            course.findings.add("set aside", f"{topic}/{partition} begins at {low}, not {cut}")
        listed = []
        for message in read_all(broker, topic, partition, high, low):
            take_aside(course, aside, place, message)
            listed.append((message.offset(), len(message.value())))
        if [offset for offset, _ in listed] != list(range(low, high)):
            course.findings.add("set aside with gaps", f"{topic}/{partition}")
        if read_by_kcat(broker, topic, partition) != listed:
            course.findings.add("kcat", f"{topic}/{partition} is not what another client reads")
    return aside


def take_aside(course, aside, place, message):
    """One record that was set aside: as it was sent, and once."""
    name = read_name(message.value())
    course.findings.counts["set aside"] += 1
    aside.checksums[place].append(zlib.crc32(message.value()))
    at = f"{message.topic()}/{message.partition()}@{message.offset()}"
    if name is None or name[1:3] != place:
        course.findings.add("strange records", f"{at}: {message.value()[:60]!r}")
        return
    if name in aside.found:
        course.findings.add("duplicated", f"{at}: {name}, also at {aside.found[name]}")
    sent = course.load.script.record(name[0], name[1], name[2], name[3])
    got = (message.value(), message.key(), message.timestamp()[1], message.headers())
    if got != (sent.value, sent.key, sent.timestamp, sent.headers):
        course.findings.add("altered", f"{at}: {name}")
    aside.found[name] = message.offset()


def expect_no_other_asides(course):
    """Nothing is set aside by a planned hand-over, and nothing at the other cluster."""
    forced = {reign.term for reign in course.reigns if reign.forced}
    for name in ("a", "b"):
        rows = course.clusters.rows("stream", "topic", "list", "-path", course.path[name])
        for topic in (row["topic"] for row in rows):
            if ".setaside-" in topic and (name == "b" or int(topic.split("-")[-1]) not in forced):
                course.findings.add("set aside for nothing", f"{topic} at {name}")


def forget_one(course, asides):
    """A planted fault: what is set aside lacks a record that was acknowledged."""
    told = {one.number: one for one in course.load.all}
    for aside in asides.values():
        for name, offset in aside.found.items():
            if name[0] in told and told[name[0]].told[name[1:3]][name[3]] == offset:
                del aside.found[name]
                return
    raise ValueError("nothing acknowledged was set aside, so it cannot be taken away")


def bounds(broker, topic, partition):
    """(low, high), (0, 0) for a topic that is not there."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "bounds", "log_level": 2,
                         "allow.auto.create.topics": False})
    try:
        if consumer.list_topics(timeout=20).topics.get(topic) is None:
            return 0, 0
        return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
    finally:
        consumer.close()


def read_by_kcat(broker, topic, partition):
    """(offset, length) of every record."""
    done = subprocess.run(["kcat", "-C", "-q", "-b", broker, "-t", topic, "-p", str(partition),
                           "-o", "beginning", "-e", "-f", "%o %S\n"], capture_output=True,
                          text=True, check=True, timeout=KCAT_S_MAX)
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
