//! An idempotent producer: what it sent and nobody answered it sends again, unchanged.

use std::time::Duration;

use mainstem_env::Env;
use mainstem_record::BatchBuilder;
use mainstem_types::Error;
use mainstem_wire::{
    InitProducerIdRequest, KafkaError, PartitionProduceData, ProduceRequest, Response,
    TopicProduceData,
};

use super::connection::Connection;

/// How long one batch may go unanswered, through a crash and the start after it.
const GIVE_UP_MS: u64 = 60_000;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Produces to one topic with `acks=all`.
pub(crate) struct Producer {
    address: String,
    topic: String,
    env: Env,
    connection: Option<Connection>,
    producer_id: i64,
    producer_epoch: i16,
    sequences: Vec<i32>,
    /// Batches that had to be sent more than once.
    pub(crate) retries: u64,
}

impl Producer {
    pub(crate) fn open(
        address: &str,
        topic: &str,
        partitions: usize,
        env: Env,
    ) -> Result<Self, Error> {
        let mut connection = Connection::open(address)?;
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let Response::InitProducerId(answer) = connection.call(request, 4)? else {
            unreachable!("an answer is of its request's kind");
        };
        check(answer.error_code, None)?;
        Ok(Self {
            address: address.into(),
            topic: topic.into(),
            env,
            connection: Some(connection),
            producer_id: answer.producer_id,
            producer_epoch: answer.producer_epoch,
            sequences: vec![0; partitions],
            retries: 0,
        })
    }

    /// Returns when the records are acknowledged: on disk at the source.
    pub(crate) fn send(
        &mut self,
        partition: usize,
        records: &[(Vec<u8>, &[u8])],
    ) -> Result<(), Error> {
        let now_ms = self.env.clock.wall_ms();
        let sequence = self.sequences[partition];
        let mut batch =
            BatchBuilder::new().producer(self.producer_id, self.producer_epoch, sequence);
        for (key, value) in records {
            batch.push(now_ms, Some(key), Some(value));
        }
        let request = self.request(partition, batch.build().freeze());
        let begun_ms = self.env.clock.monotonic_ms();
        while let Err(error) = self.try_send(&request) {
            let is_passing = error.kind() == mainstem_types::ErrorKind::Unreachable;
            if !is_passing || self.env.clock.monotonic_ms() - begun_ms > GIVE_UP_MS {
                return Err(error);
            }
            self.retries += 1;
            self.connection = None;
            std::thread::sleep(RETRY_PAUSE);
        }
        self.sequences[partition] += i32::try_from(records.len()).expect("small batches");
        Ok(())
    }

    fn request(&self, partition: usize, records: bytes::Bytes) -> ProduceRequest {
        let index = i32::try_from(partition).expect("few partitions");
        let partition_data = vec![PartitionProduceData { index, records: Some(records) }];
        let topic = TopicProduceData { name: self.topic.clone(), partition_data };
        ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        }
    }

    fn try_send(&mut self, request: &ProduceRequest) -> Result<(), Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.address)?),
        };
        let Response::Produce(answer) = connection.call(request.clone(), 9)? else {
            unreachable!("an answer is of its request's kind");
        };
        let partitions = answer.responses.into_iter().flat_map(|t| t.partition_responses);
        for partition in partitions {
            check(partition.error_code, partition.error_message)?;
        }
        Ok(())
    }
}

/// What a Kafka error code says.
pub(crate) fn check(code: i16, message: Option<String>) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let name = KafkaError::from_code(code).map_or("an unknown error", KafkaError::name);
    Err(Error::invalid(format!("the server answers {name} {}", message.unwrap_or_default())))
}
