// One transaction that is aborted and one that is committed, each with a group's offset, by kafkajs.
// usage: kafkajs_transactions.mjs BROKER TRANSACTIONAL-ID TOPIC GROUP

import { createRequire } from 'node:module'
import process from 'node:process'

const { Kafka, logLevel } = createRequire(import.meta.url)('kafkajs')

const PARTITIONS = [0, 1]
const [broker, transactionalId, topic, consumerGroupId] = process.argv.slice(2)
const client = new Kafka({ clientId: 'kafkajs', brokers: [broker], logLevel: logLevel.ERROR })
const producer = client.producer({ transactionalId, maxInFlightRequests: 1, idempotent: true })

await producer.connect()
try {
  for (const [word, offset] of [['dropped', '5'], ['kept', '7']]) {
    const transaction = await producer.transaction()
    const messages = PARTITIONS.map(partition => ({ value: word, partition }))
    await transaction.send({ topic, messages })
    const topics = [{ topic, partitions: [{ partition: 0, offset }] }]
    await transaction.sendOffsets({ consumerGroupId, topics })
    await (word === 'kept' ? transaction.commit() : transaction.abort())
  }
} finally {
  await producer.disconnect()
}
