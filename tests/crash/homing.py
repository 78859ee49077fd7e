"""Stock clients that know the addresses of two clusters, and speak to a given one of them."""

import time

from confluent_kafka import KafkaException


def at_home(make, topic, home):
    """Makes a client, again and again, until it is one that speaks to the cluster at `home`.

    A client that was given addresses of two clusters stays with the one that it reaches first, and
    that is a matter of chance: each cluster names itself as the leader of all that it holds."""
    deadline = time.monotonic() + 60
    while True:
        client = make()
        if leader_of(client, topic) == home:
            return client
        if hasattr(client, "close"):
            client.close()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no client of {topic} came to {home}")


def leader_of(client, topic):
    """The address to which a client sends what it has for a topic's first partition."""
    try:
        answer = client.list_topics(topic, timeout=5)
    except KafkaException:
        return None
    partition = answer.topics[topic].partitions.get(0)
    leader = partition and answer.brokers.get(partition.leader)
    return leader and f"{leader.host}:{leader.port}"
