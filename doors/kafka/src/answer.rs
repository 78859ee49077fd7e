//! Responses that are there, and those that are waited for.

use std::future::Future;
use std::pin::Pin;

use mainstem_types::Error;
use mainstem_wire::{KafkaError, Response};

/// A response that is there, or will be.
pub(crate) enum Answer {
    Now(Box<Response>),
    /// Runs when its turn to be written has come, so that reads see what earlier writes on the
    /// same connection have done.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// What became of a request.
pub(crate) enum Outcome {
    Respond(Box<Response>),
    /// The client asked for no answer.
    Silence,
    /// The client asked for no answer, but must notice that something went wrong.
    Close(String),
}

impl Answer {
    pub(crate) fn now(response: impl Into<Response>) -> Self {
        Self::Now(Box::new(response.into()))
    }

    pub(crate) fn later<R: Into<Response>>(
        response: impl Future<Output = R> + Send + 'static,
    ) -> Self {
        Self::Later(Box::pin(async move { Outcome::Respond(Box::new(response.await.into())) }))
    }
}

/// The code that a client is told for an error of the engine.
pub(crate) fn code(error: &Error) -> i16 {
    error.kind().kafka_code()
}

/// A refusal: a code, and a sentence where the response has room for one.
pub(crate) type Refusal = (KafkaError, String);
