#!/usr/bin/env python3
"""Fail-over and fail-back in rounds: a source is killed (kill -9) under the load of idempotent
producers and of a consumer group, its replica becomes the owner, the source comes back, is fenced,
sets aside what only it had, and becomes the owner again; or the topics are handed over as planned.
Every acknowledged record must then stand at both sides once and in order, or be set aside where an
asynchronous replica did not have it yet, and the group must have gone on at its cursors.

usage: .venv/bin/python tests/crash/failover.py [--rounds N] [--seed N] [--binary PATH] [--keep]
       [--plant]
       .venv/bin/python tests/crash/failover.py --topics 1000 [--partitions N]     measures
Rounds are asynchronous and synchronous in turn, two with agreements both ways and two with one way
only; each has a stream of its own.
"""

import argparse
import random
import sys
import time
import traceback

from confluent_kafka import Consumer, Producer, TopicPartition

from clusters import Clusters, CommandFailed, utc, wait_until
from group import GROUP, GroupReader
from load import Load, Script
from raw import Fetcher
from reigns import Reign, verify_reigns
from takeover import measure
from verify import FINDINGS_SHOWN, Findings

HERE, THERE = "a", "b"
IDLE = "failover-idle"
TOPICS = {"steady": 3, "other": 2, "lone": 1}
PRODUCERS, RATE = 3, 1200
RESIDENT, RESIDENT_RATE = 1000, 60
STEP_S_MAX = 60
COUNTED = ("found", "batches", "group sessions", "group records", "set aside", "lost window",
           "recognised", "refused", "refused and kept")


class Round:
    """One stream, from its creation to its comparison."""

    def __init__(self, clusters, seed, number, steps, plant):
        self.clusters = clusters
        self.number = number
        self.steps = steps
        self.plant = plant
        self.synchronous = number % 2 == 1 and not plant
        self.both_ways = number % 4 < 2  # from the beginning: a fail-back declares what is missing
        self.chance = random.Random(f"{seed}/{number}")
        self.stream = f"/failover{number}"
        self.path = {name: f"/mapr/{name}{self.stream}" for name in (HERE, THERE)}
        self.kafka = {name: clusters.kafka(name) for name in (HERE, THERE)}
        self.addresses = ",".join(self.kafka.values())
        self.topics = {f"{self.stream[1:]}.{topic}": count for topic, count in TOPICS.items()}
        self.places = [(topic, n) for topic, count in self.topics.items() for n in range(count)]
        script = Script(self.chance.getrandbits(32))
        # These know both clusters, as a consumer does; the resident knows one, and stays there.
        self.load = Load(script, self.addresses, PRODUCERS, RATE, refusable=True)
        self.load.home = self.kafka[HERE]
        self.resident = Load(script, self.kafka[HERE], 1, RESIDENT_RATE, first=RESIDENT,
                             refusable=True)
        self.load.partitions = self.resident.partitions = self.places
        self.reigns = [Reign(HERE)]
        self.reader = None
        self.findings = Findings()
        self.idle = dict.fromkeys(self.places, 0)  # cursors of a group that is seldom there
        self.took = []  # commands and their milliseconds

    def run(self):
        """All steps in turn, then the load's end and the comparison."""
        self._set_up()
        self.reader = GroupReader(self.addresses, self.kafka[HERE], list(self.topics), self.load)
        for one in (self.load, self.resident, self.reader):
            one.start()
        try:
            self._wait("the group commits", lambda: set(self.reader.committed) == set(self.places))
            self._go_on()
            for step in self.steps:
                print(f"round {self.number} ({'synchronous' if self.synchronous else 'async'}, "
                      f"{'both ways' if self.both_ways else 'one way'}), {step}, at {utc()}",
                      flush=True)
                {"failover": self._fail_over, "switchover": self._switch_over}[step]()
        except Exception:
            self.load.abandon()
            self.resident.abandon()
            raise
        self.load.stop(STEP_S_MAX)
        self.resident.stop(STEP_S_MAX)
        self._judge_producers()
        ends = self._ends(HERE)
        self.reader.wait_at(ends, STEP_S_MAX)
        self.reader.stop()
        self._wait_same(ends)

    def verify(self):
        """Everything that must hold at the end."""
        if self.synchronous:
            # While it is in force consumers see what both sides have: not what only one kept.
            self.clusters.run("stream", "replica", "edit", "-path", self.path[HERE], "-replica",
                              self.path[THERE], "-synchronous", "false")
        if self.plant:
            self.load.plant(self.kafka[HERE])
            self._wait_same(self._ends(HERE))
        verify_reigns(self, self.plant)
        return self.findings

    def _set_up(self):
        run = self.clusters.run
        run("stream", "create", "-path", self.path[HERE], "-produceperm", "p", "-consumeperm",
            "p", "-topicperm", "p")
        for topic, count in TOPICS.items():
            run("stream", "topic", "create", "-path", self.path[HERE], "-topic", topic,
                "-partitions", str(count))
        run("stream", "replica", "autosetup", "-path", self.path[HERE], "-replica",
            self.path[THERE], "-multimaster", "true" if self.both_ways else "false",
            "-synchronous", "true" if self.synchronous else "false", "-synctimeout", "60000")
        self._wait("it replicates", lambda: all(
            self._link(name).get("replicaState") == "REPLICA_STATE_REPLICATING"
            and self._link(name)["connected"]
            for name in ((HERE, THERE) if self.both_ways else (HERE,))))
        self._wait_in_force()
        if self.synchronous and self.both_ways:
            # The way back is synchronous too: the new owner waits so long for the one that died.
            run("stream", "replica", "edit", "-path", self.path[THERE], "-replica",
                self.path[HERE], "-synctimeout", "1000")
        for group in (GROUP, IDLE):
            self._commit(HERE, group, dict.fromkeys(self.places, 0))

    def _link(self, name):
        rows = self.clusters.rows("stream", "replica", "list", "-path", self.path[name])
        return rows[0] if rows else {}

    def _wait_in_force(self):
        if self.synchronous:
            self._wait("it is in force", lambda: self._link(HERE)["syncState"] == "inforce")

    def _go_on(self, least=600):
        """Some records more, so that what follows comes at any moment."""
        wanted = least + self.chance.randint(0, 1500)
        self.load.wait_acknowledged(self.load.acknowledged + wanted, STEP_S_MAX)

    def _ends(self, name):
        with Fetcher(self.kafka[name]) as fetcher:
            return {place: fetcher.end(*place) for place in self.places}

    def _consumer(self, name, group):
        return Consumer({"bootstrap.servers": self.kafka[name], "group.id": group, "log_level": 2})

    def _commit(self, name, group, cursors):
        consumer = self._consumer(name, group)
        consumer.commit(offsets=[TopicPartition(*place, offset)
                                 for place, offset in cursors.items()], asynchronous=False)
        consumer.close()

    def _cursors(self, name, group):
        consumer = self._consumer(name, group)
        answers = consumer.committed([TopicPartition(*place) for place in self.places], timeout=20)
        consumer.close()
        return {(one.topic, one.partition): one.offset for one in answers}

    def _begin_reign(self, owner, **what):
        self.reigns.append(Reign(owner, **what))
        self.load.era = self.resident.era = len(self.reigns) - 1

    def _judge_producers(self):
        """One may end only by a gap in what it wrote, left by records that were lost for now."""
        for load in (self.load, self.resident):
            for era, words in load.fatal.items():
                if self.synchronous or not self.reigns[era].forced:
                    self.findings.add("producers ended", f"in reign {era}: {words}")

    # ---- what is done

    def _fail_over(self):
        """The source dies; what it had not sent is lost for now."""
        self._wait_in_force()
        floor = self._wait_cursors_there()
        if not self.synchronous and (self.plant or self.chance.random() < 0.6):
            self.clusters.run("stream", "replica", "pause", "-path", self.path[HERE], "-replica",
                              self.path[THERE])
        self._go_on(600 if self.plant else 0)
        contact, sessions = self.load.lost_contact(), len(self.reader.sessions)
        self.reader.expect(len(self.reigns), floor)
        self.clusters.kill(HERE)
        # What comes from now on cannot have been acknowledged by the source.
        self._wait("every producer knows", lambda: all(
            count > contact.get(number, 0) for number, count in self.load.lost_contact().items()))
        self._begin_reign(THERE, forced=True)
        self.load.home = self.kafka[THERE]
        rows = self._hand_over("failover", THERE)
        self.reigns[-1].take_cut(rows, self.stream[1:])
        self._go_on_there(sessions)
        self._bring_back()
        self._fail_back()

    def _switch_over(self):
        """A planned hand-over; afterwards the old site is shut off."""
        self._wait_in_force()
        floor, sessions = dict(self.reader.committed), len(self.reader.sessions)
        self.reader.expect(len(self.reigns), floor)
        self._begin_reign(THERE)
        refused, acknowledged = self.load.refused, self.load.acknowledged
        self._hand_over("switchover", HERE, THERE)
        self.load.home = self.kafka[THERE]
        # Stock clients stay with a cluster that answers, be it by refusing.
        self._wait("producers are refused, or go on", lambda: self.load.refused > refused
                   or self.load.acknowledged > acknowledged + 3 * RATE)
        self.clusters.kill(HERE)
        self._go_on_there(sessions)
        self._bring_back()
        self._fail_back()

    def _hand_over(self, verb, owner, replica=None):
        """One of the three commands, and how long it took."""
        begun = time.monotonic()
        words = ("-replica", self.path[replica]) if replica else ()
        rows = self.clusters.rows("stream", "replica", verb, "-path", self.path[owner], *words)
        self.took.append(f"{verb} {1000 * (time.monotonic() - begun):.0f}")
        return rows

    def _go_on_there(self, sessions):
        """Producers and the group go on at the new owner by themselves."""
        self._go_on()
        ends = self._ends(THERE)
        self._wait("the group has a new session", lambda: len(self.reader.sessions) > sessions)
        self.reader.wait_at(ends, STEP_S_MAX)
        self._check_idle(THERE)
        self.idle = {place: end // 2 for place, end in ends.items()}
        self._commit(THERE, IDLE, self.idle)

    def _bring_back(self):
        """The old master comes back: it is fenced, and, as soon as it is fed, joins in."""
        refused = self.resident.refused
        self.clusters.start(HERE)
        if not self.both_ways:
            # It hears of the new owner only when it calls.
            self._resume()
        self._wait("the resident producer is refused", lambda: self.resident.refused > refused)
        self._expect_refusals()
        if self.both_ways:
            cut = self.reigns[-1].cut or self._ends(THERE)
            self._wait("the old master has joined", lambda: self._joined(cut))
            self._resume()

    def _resume(self):
        if self._link(HERE)["paused"]:
            self.clusters.run("stream", "replica", "resume", "-path", self.path[HERE], "-replica",
                              self.path[THERE])

    def _expect_refusals(self):
        """A stock producer is told at once, and by the documented error, that it is no owner."""
        answers = {}
        producer = Producer({"bootstrap.servers": self.kafka[HERE], "acks": "all",
                             "log_level": 2, "enable.idempotence": True})
        for place in self.places:
            producer.produce(place[0], b"not to be taken", partition=place[1],
                             on_delivery=lambda error, message: answers.update(
                                 {(message.topic(), message.partition()): error and error.name()}))
        producer.flush(STEP_S_MAX)
        if answers != dict.fromkeys(self.places, "POLICY_VIOLATION"):
            self.findings.add("not fenced", f"writes at {HERE} were answered by {answers}")

    def _joined(self, cut):
        """Whether the old master's logs continue, from the cut on, as the new owner's do."""
        with Fetcher(self.kafka[HERE]) as here, Fetcher(self.kafka[THERE]) as there:
            for place, offset in cut.items():
                if there.end(*place) == offset:
                    if here.end(*place) != offset:
                        return False
                    continue
                if here.end(*place) <= offset:
                    return False
                if (here.fetch(*place, offset)[2][:1] != there.fetch(*place, offset)[2][:1]):
                    return False
        return True

    def _fail_back(self):
        """Under load; then producers and the group move, since none does that by itself."""
        self._go_on(0)
        # What a group commits at a cluster that is not the owner any more counts only there.
        self.reader.expect(len(self.reigns), self.reader.hold(STEP_S_MAX), exactly=True)
        self._begin_reign(HERE)
        self._hand_over("failback", THERE, HERE)
        self.both_ways = True
        self._check_idle(HERE)
        sessions = len(self.reader.sessions)
        self.load.move(self.kafka[HERE])
        self.reader.move(self.kafka[HERE])
        self._go_on()
        self._wait("the group has moved", lambda: len(self.reader.sessions) > sessions)
        self._wait("it commits there", lambda: set(self.reader.committed) == set(self.places))

    # ---- what is waited for

    def _wait(self, what, holds):
        """Waits for a condition, and no longer than nothing has failed."""
        def failed_or_holds():
            if self.load.failures:
                raise TimeoutError(f"waiting until {what}, when {self.load.failures[0]}")
            return holds()
        wait_until(what, failed_or_holds, STEP_S_MAX)

    def _wait_cursors_there(self):
        """Cursors that the replica is known to have."""
        sure = dict(self.reader.committed)
        for group, least in ((GROUP, sure), (IDLE, self.idle)):
            self._wait("cursors arrive at the replica", lambda group=group, least=least: all(
                offset >= least[place] for place, offset in self._cursors(THERE, group).items()))
        return sure

    def _check_idle(self, owner):
        """A group that is idle has the cursors that it had, whoever is the owner now."""
        found = self._cursors(owner, IDLE)
        if found != self.idle:
            self.findings.add("idle group", f"at {owner} in reign {len(self.reigns) - 1}: {found}, "
                                            f"committed {self.idle}")

    def _wait_same(self, ends):
        self._wait("the replica has caught up", lambda: self._ends(THERE) == ends)

    def print_evidence(self):
        """Both sides as they are, as far as they answer."""
        for name in (HERE, THERE):
            for what, ask in (("ends", lambda name=name: self._ends(name)),
                              ("link", lambda name=name: self._link(name))):
                try:
                    print(f"{what} at {name}: {ask()}", flush=True)
                except Exception as error:  # pylint: disable=broad-except
                    print(f"{what} at {name}: {error}", flush=True)
        for number, reign in enumerate(self.reigns):
            print(f"reign {number}: {reign}")
            print(f"  producers that ended in it: {self.load.fatal[number]}")
        if self.reader:
            print(f"group: sessions {len(self.reader.sessions)}, at {self.reader.position()}")


def print_summary(one, seconds):
    """The counts of a round; returns whether all of it holds."""
    counts = one.findings.counts
    faults = {what: count for what, count in counts.items() if what not in COUNTED}
    failures = one.load.failures + one.resident.failures
    sentences = one.findings.sentences + failures[:FINDINGS_SHOWN]
    acknowledged = one.load.acknowledged + one.resident.acknowledged
    least = acknowledged - counts["lost window"]
    if counts["found"] < least or not acknowledged or not counts["group records"]:
        sentences.append(f"{acknowledged} acknowledged, {counts['found']} found")
    if faults:
        sentences.append(f"faults in all: {faults}")
    for sentence in sentences:
        print(f"FAIL  {sentence}")
    print(f"acknowledged {acknowledged}, at both {counts['found']}, set aside "
          f"{counts['set aside']} (acknowledged {counts['lost window']}), lost {counts['lost']}, "
          f"duplicated {counts['duplicated']}; retries recognised {counts['recognised']}, refused "
          f"{counts['refused']} (kept all the same {counts['refused and kept']}); group sessions "
          f"{len(one.reader.sessions)}, records {counts['group records']}; producers ended "
          f"{sum(map(len, one.load.fatal.values()))}; batches {counts['batches']}; ms: "
          f"{', '.join(one.took)}; {seconds:.1f} s", flush=True)
    return not sentences


def run_rounds(clusters, chosen, seed):
    """All rounds until one fails."""
    for number in range(chosen.first, chosen.first + chosen.rounds):
        begun = time.monotonic()
        steps = ("failover", "switchover" if number % 4 < 2 else "failover")
        if chosen.plant:
            steps = steps[:1]
        one = Round(clusters, seed, number, steps, chosen.plant)
        try:
            one.run()
            findings = one.verify()
            holds = print_summary(one, time.monotonic() - begun)
            if chosen.plant:
                holds = findings.counts["lost"] == 2 and findings.counts["duplicated"] == 1
        except Exception as error:  # pylint: disable=broad-except
            print(f"FAIL  at {utc()}: {error!r}; failures: {one.load.failures[:5]}")
            traceback.print_exc(file=sys.stdout)
            holds = False
        if not holds:
            one.print_evidence()
            print(f"this round alone: tests/crash/failover.py --seed {seed} --first {number} "
                  "--rounds 1" + (" --plant" if chosen.plant else ""))
            return False
    return True


def main():
    """Runs, prints, and exits 0 only if everything held."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--first", type=int, default=0, help="begin with that round")
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--keep", action="store_true", help="leave the data in place")
    options.add_argument("--plant", action="store_true", help="plant two losses, one among what is "
                         "set aside, and a duplicate: exit 0 only if all are found")
    options.add_argument("--topics", type=int, default=0, help="measure, with so many topics")
    options.add_argument("--partitions", type=int, default=1, help="of each topic measured")
    chosen = options.parse_args()
    seed = random.SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    what = (f"--topics {chosen.topics} --partitions {chosen.partitions}" if chosen.topics
            else f"--first {chosen.first} --rounds {chosen.rounds}")
    again = f"tests/crash/failover.py --seed {seed} {what}" + (" --plant" if chosen.plant else "")
    print(f"seed {seed}", flush=True)
    holds = False
    with Clusters(chosen.binary, [HERE, THERE], chosen.keep, f"failover-{seed}-") as clusters:
        try:
            if chosen.topics:
                holds = measure(clusters, HERE, THERE, chosen.topics, chosen.partitions, seed)
            else:
                holds = run_rounds(clusters, chosen, seed)
        except (TimeoutError, CommandFailed, OSError) as error:
            print(f"FAIL  at {utc()}: {error!r}")
        finally:
            if not holds:
                clusters.print_evidence()
    print(f"{'passed' if holds else 'FAILED'} with seed {seed}; again: {again}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
