//! What producers are told while topics pass to another owner.

use mainstem_catalog::Command;
use mainstem_types::{JobId, StreamId};
use mainstem_wire::KafkaError;

use crate::admin::elsewhere;
use crate::node::{TestNode, batch};

const TOPIC: &str = "activity.clicks";
const JOB: JobId = JobId(5);

#[tokio::test]
async fn producers_are_told_to_look_again_while_a_topic_is_handed_over_and_go_on_if_it_stays() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let stream = node.stream("/activity");
    let replica = elsewhere();
    node.change(Command::AddReplica {
        stream,
        replica: replica.clone(),
        replica_id: Some(StreamId::from_random(9)),
        settings: Default::default(),
        paused: false,
        setup: None,
    })
    .await;
    let mut client = node.connect().await;
    assert_eq!(client.produce(TOPIC, batch(&["before"])).await.error_code, 0);
    let begin =
        Command::BeginHandover { stream, replica: replica.clone(), job: JOB, timeout_ms: 600_000 };
    node.change(begin).await;
    for _ in 0..2 {
        let told = client.produce(TOPIC, batch(&["meanwhile"])).await;
        assert_eq!(told.error_code, KafkaError::NotLeaderOrFollower.code(), "{told:?}");
    }
    let why = "nothing came of it".to_owned();
    node.change(Command::TakeBack { stream, replica, job: JOB, why }).await;
    let after = client.produce(TOPIC, batch(&["after"])).await;
    assert_eq!((after.error_code, after.base_offset), (0, 1));
}
