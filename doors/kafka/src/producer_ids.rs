//! Ids for idempotent and transactional producers.

use mainstem_wire::{InitProducerIdRequest, InitProducerIdResponse};

use crate::answer::code;
use crate::context::Context;
use crate::transactions;

/// A producer without a transactional id that asks again gets a new id: whatever it had is at an end.
pub(crate) async fn handle(
    ctx: &Context,
    version: i16,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    if let Some(id) = &request.transactional_id {
        return transactions::begin(ctx, version, request, id).await;
    }
    match ctx.node.engine.next_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, ..Default::default() },
        Err(error) => {
            tracing::warn!(%error, "no producer id could be given out");
            let error_code = code(&error);
            InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() }
        }
    }
}
