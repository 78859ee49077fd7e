//! One client connection: requests are submitted in the order in which they come, and answered in
//! that order, while many are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mainstem_types::limits::{REQUEST_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX};
use mainstem_wire::{
    ApiKey, KafkaError, RequestHeader, WireError, decode_request, encode_response,
    encode_unsupported_api_versions,
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::answer::{Answer, Outcome};
use crate::context::Context;
use crate::frames::{ReadError, read_frame, write_frame};
use crate::submit::submit;

/// Small requests are read several at a time.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// How long answers that are under way may still take when the door closes.
const CLOSING_MS: u64 = 500;

/// Why a connection ended.
#[derive(Debug)]
enum End {
    Closed,
    Closing,
    Idle,
    Fault(String),
}

/// What waits for its turn to be written.
struct Pending {
    owed: Owed,
    /// Counts the request's bytes as long as it is under way.
    _bytes: OwnedSemaphorePermit,
}

enum Owed {
    Frame(Vec<Bytes>),
    Answer(Box<RequestHeader>, Answer),
}

/// Serves a connection until it ends. Dropping this future closes the socket.
pub(crate) async fn serve(
    ctx: Context,
    socket: TcpStream,
    idle_timeout_ms: u64,
    closing: watch::Receiver<bool>,
) {
    let (read, write) = socket.into_split();
    let read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
    let idle = Duration::from_millis(idle_timeout_ms);
    let in_flight = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let writing = write_answers(write, receive, &in_flight, idle);
    tokio::pin!(writing);
    let end = tokio::select! {
        end = read_requests(&ctx, read, send, &in_flight, idle, closing.clone()) => end,
        end = &mut writing => end,
        // A client that takes no answers may hold up the reader too.
        () = closed_for_long(closing) => End::Closed,
    };
    match end {
        End::Closed | End::Idle => {
            tracing::debug!(client = %ctx.client_host, ?end, "Kafka connection ended");
        }
        End::Closing => {
            // The reader is gone and with it the queue's end, so writing ends by itself.
            let _ = timeout(Duration::from_millis(CLOSING_MS), writing).await;
        }
        End::Fault(fault) => {
            tracing::error!(client = %ctx.client_host, %fault, "Kafka connection closed");
        }
    }
}

async fn closed_for_long(mut closing: watch::Receiver<bool>) {
    // An error means that the door is gone altogether.
    let _ = closing.wait_for(|closing| *closing).await;
    tokio::time::sleep(Duration::from_millis(CLOSING_MS)).await;
}

async fn read_requests(
    ctx: &Context,
    mut read: impl AsyncRead + Unpin,
    send: mpsc::Sender<Pending>,
    in_flight: &AtomicUsize,
    idle: Duration,
    mut closing: watch::Receiver<bool>,
) -> End {
    let room = Arc::new(Semaphore::new(REQUEST_BYTES_MAX));
    loop {
        let frame = tokio::select! {
            frame = next_frame(&mut read, in_flight, idle) => frame,
            _ = closing.wait_for(|closing| *closing) => return End::Closing,
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        // Waiting for room holds back this client only.
        let bytes = u32::try_from(frame.len()).expect("a frame was held against the limit");
        let bytes = room.clone().acquire_many_owned(bytes).await;
        let (Ok(bytes), Ok(place)) = (bytes, send.reserve().await) else {
            return End::Closed;
        };
        let owed = match decode_request(&frame) {
            Ok((header, request)) => {
                let frame_bytes = frame.len();
                drop(frame);
                let answer = submit(ctx, &header, request, frame_bytes).await;
                Owed::Answer(Box::new(header), answer)
            }
            Err(error) => match refuse(error) {
                Ok(frame) => Owed::Frame(frame),
                Err(fault) => return End::Fault(fault),
            },
        };
        in_flight.fetch_add(1, Ordering::Relaxed);
        place.send(Pending { owed, _bytes: bytes });
    }
}

/// The next frame. Silence ends a connection only when nothing is owed to it.
async fn next_frame(
    read: &mut (impl AsyncRead + Unpin),
    in_flight: &AtomicUsize,
    idle: Duration,
) -> Result<Bytes, End> {
    let reading = read_frame(read);
    tokio::pin!(reading);
    loop {
        match timeout(idle, &mut reading).await {
            Ok(Ok(frame)) => return Ok(frame),
            Ok(Err(ReadError::Closed | ReadError::Io(_))) => return Err(End::Closed),
            Ok(Err(error @ ReadError::Length(_))) => return Err(End::Fault(error.to_string())),
            Err(_) if in_flight.load(Ordering::Relaxed) == 0 => return Err(End::Idle),
            Err(_) => {}
        }
    }
}

/// What a frame that is no request is answered with, if anything.
fn refuse(error: WireError) -> Result<Vec<Bytes>, String> {
    match error {
        WireError::UnsupportedVersion { api_key: ApiKey::ApiVersions, correlation_id, .. } => {
            Ok(encode_unsupported_api_versions(correlation_id))
        }
        // No body is known for the version, so there is only the code, where most bodies have it.
        WireError::UnsupportedVersion { correlation_id, .. } => {
            let mut frame = vec![0, 0, 0, 6];
            frame.extend(correlation_id.to_be_bytes());
            frame.extend(KafkaError::UnsupportedVersion.code().to_be_bytes());
            Ok(vec![Bytes::from(frame)])
        }
        error @ (WireError::UnknownApi { .. }
        | WireError::Malformed(_)
        | WireError::FrameLength(_)) => Err(error.to_string()),
    }
}

async fn write_answers(
    mut write: impl AsyncWrite + Unpin,
    mut receive: mpsc::Receiver<Pending>,
    in_flight: &AtomicUsize,
    idle: Duration,
) -> End {
    while let Some(pending) = receive.recv().await {
        let frame = match pending.owed {
            Owed::Frame(frame) => Some(frame),
            Owed::Answer(header, answer) => {
                let outcome = match answer {
                    Answer::Now(response) => Outcome::Respond(response),
                    Answer::Later(outcome) => outcome.await,
                };
                match outcome {
                    Outcome::Respond(response) => Some(encode_response(&header, &response)),
                    Outcome::Silence => None,
                    Outcome::Close(fault) => return End::Fault(fault),
                }
            }
        };
        if let Some(frame) = frame {
            match timeout(idle, write_frame(&mut write, frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Closed,
                Err(_) => return End::Idle,
            }
        }
        in_flight.fetch_sub(1, Ordering::Relaxed);
    }
    End::Closed
}
