//! Ids for idempotent producers.

use mainstem_wire::{InitProducerIdRequest, InitProducerIdResponse, KafkaError};

use crate::answer::code;
use crate::context::Context;

/// A producer that asks again gets a new id: whatever it had is at an end.
pub(crate) async fn handle(
    ctx: &Context,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error_code| InitProducerIdResponse {
        error_code,
        producer_epoch: -1,
        ..Default::default()
    };
    if request.transactional_id.is_some() {
        // Of the codes that end a client with a clear word, this is the one all of them know.
        tracing::info!("a transactional producer was refused: transactions are not served yet");
        return refused(KafkaError::TransactionalIdAuthorizationFailed.code());
    }
    match ctx.node.engine.next_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, ..Default::default() },
        Err(error) => {
            tracing::warn!(%error, "no producer id could be given out");
            refused(code(&error))
        }
    }
}
