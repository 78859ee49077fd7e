//! Ids for idempotent and transactional producers.

use mainstem_wire::{InitProducerIdRequest, InitProducerIdResponse, KafkaError};

use crate::answer::code;
use crate::context::Context;
use crate::transactions;

/// A producer without a transactional id that asks again gets a new id: whatever it had is at an end.
pub(crate) async fn handle(
    ctx: &Context,
    version: i16,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    match give(ctx, version, request).await {
        Ok((producer_id, producer_epoch)) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..Default::default() }
        }
        Err(error_code) => {
            InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() }
        }
    }
}

async fn give(
    ctx: &Context,
    version: i16,
    request: &InitProducerIdRequest,
) -> Result<(i64, i16), i16> {
    let known = known(request)?;
    if let Some(id) = &request.transactional_id {
        return transactions::begin(ctx, version, request, id, known).await;
    }
    let given = ctx.node.engine.next_producer_id().await;
    given.map(|producer_id| (producer_id, 0)).map_err(|error| {
        tracing::warn!(%error, "no producer id could be given out");
        code(&error)
    })
}

/// What the producer says it has: id and epoch, or neither.
fn known(request: &InitProducerIdRequest) -> Result<Option<(i64, i16)>, i16> {
    match (request.producer_id, request.producer_epoch) {
        (-1, -1) => Ok(None),
        (producer_id @ 0.., epoch @ 0..) => Ok(Some((producer_id, epoch))),
        _ => Err(KafkaError::InvalidRequest.code()),
    }
}
