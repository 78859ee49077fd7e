// The scenarios by kafkajs, in the words of scenarios.py.

import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import process from 'node:process'

const require = createRequire(import.meta.url)
const kafkajs = require('kafkajs')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs
const lz4 = require('lz4js')
const { ZstdCodec } = require('zstd-codec')

const NAME = 'kafkajs'
const DEADLINE_MS = 30_000
const RUN_MS_MAX = 280_000
const START_MS = 1_262_304_000_000

const { MAINSTEM_SOURCE: source, MAINSTEM_REPLICA: replica, MAINSTEM_STREAM: stream } = process.env
const prefix = stream.replace(/^\/|\/$/g, '').replaceAll('/', '.')
const topicOf = name => `${prefix}.${name}`
const group = `readers-${NAME}`
const written = new Map() // topic -> partition -> records

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
const zstd = await new Promise(resolve => ZstdCodec.run(z => resolve(new z.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const clientOf = broker =>
  new Kafka({
    clientId: NAME,
    brokers: [broker],
    logLevel: process.env.KAFKAJS_DEBUG ? logLevel.DEBUG : logLevel.NOTHING,
    retry: { retries: 5, initialRetryTime: 100 },
  })
const clients = { [source]: clientOf(source), [replica]: clientOf(replica) }

function assert(holds, complaint) {
  if (!holds) throw new Error(complaint)
}

const text = value =>
  JSON.stringify(value, (_, v) => (v?.type === 'Buffer' ? Buffer.from(v.data).toString('latin1') : v))

function same(found, expected, what) {
  if (Array.isArray(found) && Array.isArray(expected)) {
    const at = expected.findIndex((item, i) => text(item) !== text(found[i]))
    if (at >= 0) same({ item: found[at] }, { item: expected[at] }, `${what}, item ${at}`)
  }
  const [a, b] = [text(found), text(expected)]
  assert(a === b, `${what}: ${a?.slice(0, 400)}, expected ${b.slice(0, 400)}`)
}

async function until(condition, what, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs
  for (;;) {
    let complaint = 'not yet'
    try {
      if (await condition()) return
    } catch (error) {
      complaint = error.message
    }
    assert(Date.now() < end, `${what}: ${complaint}, after ${deadlineMs / 1000} s`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

function sample(count, first = 0, partition = 0) {
  return Array.from({ length: count }, (_, n) => {
    const i = first + n
    const key = i % 5 === 0 ? null : Buffer.from(`key-${i}`)
    let value = Buffer.from(`value ${i} `.repeat(1 + (i % 9)))
    if (i % 7 === 3) value = null
    if (i % 7 === 4) value = Buffer.alloc(0)
    if (key === null && value === null) value = Buffer.from('neither')
    const headers =
      i % 3 === 0
        ? { trace: [Buffer.from(`${i}`), Buffer.from('again')], bin: Buffer.from([0, 255]) }
        : {}
    return { key, value, headers, timestamp: String(START_MS + i * 1000), partition }
  })
}

async function produce(broker, topic, records, { codec = 'none', acks = -1, idempotent = false } = {}) {
  const options = idempotent ? { idempotent, maxInFlightRequests: 1 } : { retry: { retries: 5 } }
  const producer = clients[broker].producer({ allowAutoTopicCreation: true, ...options })
  await producer.connect()
  try {
    return await producer.send({ topic, messages: records, acks, compression: CODECS[codec] })
  } finally {
    await producer.disconnect()
  }
}

async function write(name, records, options) {
  const topic = topicOf(name)
  if (!written.has(topic)) written.set(topic, new Map())
  const expected = new Map()
  for (const record of records) {
    const log = written.get(topic).get(record.partition) ?? []
    written.get(topic).set(record.partition, log)
    if (!expected.has(record.partition)) expected.set(record.partition, log.length)
    log.push(record)
  }
  const told = await produce(source, topic, records, options)
  for (const { partition, baseOffset, errorCode } of told) {
    same({ partition, baseOffset, errorCode },
      { partition, baseOffset: String(expected.get(partition)), errorCode: 0 }, 'told to the producer')
  }
  same(told.length, expected.size, 'partitions told to the producer')
}

/** Reads a topic from the beginning, until each partition has given its count. */
async function read(broker, topic, counts) {
  const wanted = [...counts.values()].reduce((a, b) => a + b, 0)
  const found = []
  const consumer = clients[broker].consumer({
    groupId: `once-${randomUUID()}`,
    allowAutoTopicCreation: false,
    maxWaitTimeInMs: 200,
  })
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => void found.push({ partition, ...message }),
    })
    await until(() => found.length >= wanted, `${found.length} of ${wanted} of ${topic}`)
  } finally {
    await consumer.disconnect()
  }
  return found
}

async function checkRead(broker, topic) {
  const partitions = written.get(topic)
  const counts = new Map([...partitions].map(([p, records]) => [p, records.length]))
  const found = await read(broker, topic, counts)
  const shape = r => ({
    partition: r.partition,
    offset: r.offset,
    key: r.key,
    value: r.value?.length > 200 ? `${r.value.length} bytes, ${r.value.toString('base64')}` : r.value,
    headers: r.headers,
    timestamp: r.timestamp,
  })
  for (const [partition, records] of partitions) {
    const expected = records.map((r, i) => shape({ ...r, offset: String(i) }))
    same(found.filter(r => r.partition === partition).map(shape), expected, `${topic}/${partition}`)
  }
  const ends = await admin(broker, a => a.fetchTopicOffsets(topic))
  for (const { partition, low, high } of ends) {
    same([low, high], ['0', String(counts.get(partition) ?? 0)], `ends of ${topic}/${partition}`)
  }
}

async function admin(broker, use) {
  const client = clients[broker].admin()
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.disconnect()
  }
}

const topics = broker => admin(broker, a => a.listTopics())

async function committed(broker, topic) {
  const found = await admin(broker, a => a.fetchOffsets({ groupId: group, topics: [topic] }))
  const offsets = found[0].partitions.map(({ partition, offset }) => [partition, Number(offset)])
  return Object.fromEntries(offsets.sort(([a], [b]) => a - b))
}

/** A member that commits only when told to; it knows its assignment by the join event. */
async function member(broker, topic) {
  const consumer = clients[broker].consumer({
    groupId: group,
    allowAutoTopicCreation: false,
    sessionTimeout: 10_000,
    rebalanceTimeout: 10_000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 200,
  })
  const self = { found: [], assigned: [], consumer }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    self.assigned = payload.memberAssignment[topic] ?? []
  })
  consumer.on(consumer.events.REBALANCING, () => void (self.assigned = []))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => void self.found.push({ partition, ...message }),
  })
  return self
}

/** Commits the end of what each member has read of the partitions it holds. */
async function commit(self, topic) {
  const ends = new Map()
  for (const { partition, offset } of self.found) {
    if (!self.assigned.includes(partition)) continue
    ends.set(partition, Math.max(ends.get(partition) ?? 0, Number(offset) + 1))
  }
  const offsets = [...ends].map(([partition, end]) => ({ topic, partition, offset: String(end) }))
  if (offsets.length > 0) await self.consumer.commitOffsets(offsets)
}

const everyPartition = offset => ({ 0: offset, 1: offset, 2: offset, 3: offset })

const scenarios = Object.keys(CODECS).map(codec => [
  `produce and consume, ${codec}`,
  async () => {
    await write(`codec-${codec}`, sample(60), { codec })
    await write(`codec-${codec}`, sample(40, 60), { codec })
    await checkRead(source, topicOf(`codec-${codec}`))
  },
])

scenarios.push(
  ['idempotent producer', async () => {
    await write('idempotent', sample(300), { idempotent: true, codec: 'gzip' })
    await write('idempotent', sample(50, 300), { idempotent: true })
    await checkRead(source, topicOf('idempotent'))
  }],
  ['acks=1', async () => {
    await write('leader-ack', sample(50), { acks: 1 })
    await checkRead(source, topicOf('leader-ack'))
  }],
  ['a message of 900 kB', async () => {
    const value = Buffer.from(Array.from({ length: 900_000 }, (_, i) => (i * 7) % 251))
    const big = { key: Buffer.from('big'), value, headers: {}, timestamp: String(START_MS), partition: 0 }
    await write('large', [big, { ...big, value: Buffer.from('after it') }])
    await checkRead(source, topicOf('large'))
  }],
  ['list topics', async () => {
    const listed = await topics(source)
    const missing = [...written.keys()].filter(topic => !listed.includes(topic))
    same(missing, [], 'not listed')
  }],
  ['create and delete a topic', async () => {
    const topic = topicOf('made-by-admin')
    const made = await admin(source, a => a.createTopics({ topics: [{ topic, numPartitions: 3 }] }))
    same(made, true, 'createTopics')
    const described = await admin(source, a => a.fetchTopicMetadata({ topics: [topic] }))
    same(described.topics[0].partitions.length, 3, 'partitions')
    for (const partition of [0, 1, 2]) {
      const told = await produce(source, topic, sample(5, 0, partition))
      same([told[0].partition, told[0].baseOffset], [partition, '0'], 'told to the producer')
    }
    await until(async () => (await topics(replica)).includes(topic), 'created at the replica')
    await admin(source, a => a.deleteTopics({ topics: [topic] }))
    await until(async () => !(await topics(source)).includes(topic), 'deleted at the source')
    await until(async () => !(await topics(replica)).includes(topic), 'deleted at the replica')
  }],
  ['a group of two', async () => {
    const topic = topicOf('grouped')
    await admin(source, a => a.createTopics({ topics: [{ topic, numPartitions: 4 }] }))
    for (const p of [0, 1, 2, 3]) await write('grouped', sample(50, 0, p))
    const members = [await member(source, topic)]
    try {
      await until(() => members[0].assigned.length === 4, 'the first holds all', 60_000)
      members.push(await member(source, topic))
      await until(() => {
        const held = members.map(m => m.assigned)
        return held.every(h => h.length > 0) && text(held.flat().sort()) === '[0,1,2,3]'
      }, 'two members share the partitions', 60_000)
      await until(() => {
        const seen = new Set(members.flatMap(m => m.found.map(r => `${r.partition}/${r.offset}`)))
        return seen.size === 200
      }, 'all records reach the group', 60_000)
      await until(async () => {
        for (const m of members) await commit(m, topic)
        return text(await committed(source, topic)) === text(everyPartition(50))
      }, 'the group commits its end', 60_000)
    } finally {
      for (const m of members) await m.consumer.disconnect()
    }
  }],
  ['the group restarts and goes on', async () => {
    const topic = topicOf('grouped')
    same(await committed(source, topic), everyPartition(50), 'committed offsets')
    for (const p of [0, 1, 2, 3]) await write('grouped', sample(10, 50, p))
    await goesOn(source, topic, 50, 60)
  }],
  ['offsets for times', async () => {
    const timed = (first, count) =>
      sample(count, first).map(r => ({ ...r, headers: {}, value: Buffer.from('t') }))
    await write('timed', timed(0, 20))
    await write('timed', timed(20, 20))
    const topic = topicOf('timed')
    for (const [time, expected] of [
      [START_MS - 1, '0'],
      [START_MS, '0'],
      [START_MS + 10_500, '11'],
      [START_MS + 20_000, '20'],
      [START_MS + 39_000, '39'],
      // kafkajs gives the end of the partition where the broker says "none".
      [START_MS + 39_001, '40'],
    ]) {
      const found = await admin(source, a => a.fetchTopicOffsetsByTimestamp(topic, time))
      same(found, [{ partition: 0, offset: expected }], `offset for ${time}`)
    }
  }],
  ['the replica reads the same', async () => {
    for (const topic of written.keys()) {
      await until(async () => (await topics(replica)).includes(topic), `${topic} at the replica`)
      await until(async () => (await checkRead(replica, topic), true), `${topic} at the replica`)
    }
  }],
  ['committed offsets reach the replica', async () => {
    const topic = topicOf('grouped')
    await until(async () => {
      same(await committed(replica, topic), everyPartition(60), 'offsets')
      return true
    }, 'committed offsets at the replica')
  }],
  ['the group goes on at the replica', async () => {
    for (const p of [0, 1, 2, 3]) await write('grouped', sample(5, 60, p))
    await goesOn(replica, topicOf('grouped'), 60, 65)
  }],
  ['the replica refuses a producer', async () => {
    const topic = topicOf('codec-none')
    const start = Date.now()
    let surfaced = null
    try {
      await produce(replica, topic, [{ key: 'k', value: 'intruder', partition: 0 }])
    } catch (error) {
      surfaced = `${error.name} ${error.type}: ${error.message}`
    }
    assert(surfaced !== null, 'it was accepted')
    assert(Date.now() - start < 15_000, `told only after ${Date.now() - start} ms: ${surfaced}`)
    assert(/policy/i.test(surfaced), `not a clear refusal: ${surfaced}`)
    await checkRead(replica, topic)
  }],
)

/** The group, restarted at a cluster, reads exactly the offsets from `first` to `end`. */
async function goesOn(broker, topic, first, end) {
  const m = await member(broker, topic)
  try {
    const count = 4 * (end - first)
    await until(() => m.found.length >= count, 'the new records arrive', 60_000)
    same(m.found.length, count, 'records after a restart')
    const offsets = [...new Set(m.found.map(r => Number(r.offset)))].sort((a, b) => a - b)
    same(offsets, Array.from({ length: end - first }, (_, i) => first + i), 'offsets')
    // Cursors flow from the source to the replica, so only the source is told.
    if (broker === source) await commit(m, topic)
  } finally {
    await m.consumer.disconnect()
  }
}

setTimeout(() => {
  console.log(`FAIL  ${NAME}: not done after ${RUN_MS_MAX / 1000} s`)
  process.exit(1)
}, RUN_MS_MAX)

let failed = 0
const words = process.argv.slice(2)
for (const [name, run] of scenarios) {
  if (words.length > 0 && !words.some(word => name.includes(word))) continue
  const start = Date.now()
  try {
    await run()
    console.log(`ok    ${NAME}: ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failed += 1
    console.log(`FAIL  ${NAME}: ${name}: ${error.name}: ${error.message}`)
    if (error.name !== 'Error') console.error(error.stack)
  }
}
process.exit(failed > 0 ? 1 : 0)
