//! The door as HTTP: bounded, on loopback, and deaf to web pages.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use mainstem_api::{Arguments, Envelope, find_command};
use mainstem_env::Clock;
use mainstem_types::Error;

use crate::data::{END, LOG_START, UPLOAD_BYTES_MAX};
use crate::door::AdminDoor;
use crate::metrics::CONTENT_TYPE;

/// Five access control expressions, written as a form.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longer than any command takes; a stuck one is answered rather than waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a closing door waits for commands under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `ended` comes.
///
/// # Errors
/// An address that other machines reach, unless the settings say `insecure`; the listener's own.
pub async fn serve(
    listener: tokio::net::TcpListener,
    door: AdminDoor,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::storage(format!("the admin door failed: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    check_address(address, door.settings.insecure)?;
    tracing::info!(%address, "admin door open");
    axum::serve(listener, door.router()).with_graceful_shutdown(ended).await.map_err(failed)
}

/// A door that serves on a task of its own.
#[derive(Debug)]
pub struct OpenAdminDoor {
    address: SocketAddr,
    end: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl AdminDoor {
    /// Binds the address and serves it until the answer is closed.
    ///
    /// # Errors
    /// The address is taken, or other machines reach it and the settings do not say `insecure`.
    pub async fn open(self, address: SocketAddr) -> Result<OpenAdminDoor, Error> {
        check_address(address, self.settings.insecure)?;
        let taken = |error| Error::storage(format!("the admin door cannot use {address}: {error}"));
        let listener = tokio::net::TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (end, ended) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            // A dropped handle ends it like a closed one.
            let ended = async { drop(ended.await) };
            tokio::select! {
                served = serve(listener, self.clone(), ended) => if let Err(error) = served {
                    tracing::error!(%error, "admin door closed");
                },
                () = self.watch_alarms() => {}
            }
        });
        Ok(OpenAdminDoor { address, end, task })
    }
}

impl OpenAdminDoor {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes nothing more, and waits a moment for commands under way.
    pub async fn close(self) {
        drop(self.end);
        let mut task = self.task;
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

fn check_address(address: SocketAddr, insecure: bool) -> Result<(), Error> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    Err(Error::policy(format!(
        "the admin door does not authenticate anyone, so it does not open on {address}; bind it to \
         127.0.0.1, or write insecure = true"
    )))
}

impl AdminDoor {
    /// The routes, to be served or called by hand.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(|| async { axum::Json(serde_json::json!({"status": "ok"})) }))
            .route("/version", get(version))
            .route("/rest/stream/data", get(read_data).post(write_data))
            .route("/rest/{*words}", any(rest))
            .route("/metrics", get(metrics))
            .fallback(unknown)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }
}

async fn version() -> impl IntoResponse {
    axum::Json(serde_json::json!({"name": "mainstem", "version": env!("CARGO_PKG_VERSION")}))
}

async fn metrics(State(door): State<AdminDoor>, headers: HeaderMap) -> Response {
    if let Err(error) = check_not_from_a_page(&headers, door.settings.insecure) {
        return (StatusCode::FORBIDDEN, envelope(&door, Err(error))).into_response();
    }
    // Counting what is pending may read the log's index from disk.
    let counting = door.clone();
    match tokio::task::spawn_blocking(move || counting.metrics()).await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn unknown(State(door): State<AdminDoor>, uri: Uri) -> Response {
    let error = Error::not_found(format!(
        "there is nothing at {}; commands are at /rest/<words>, for example /rest/stream/list",
        uri.path().chars().take(60).collect::<String>()
    ));
    (StatusCode::NOT_FOUND, envelope(&door, Err(error))).into_response()
}

async fn rest(State(door): State<AdminDoor>, request: Request) -> Response {
    if let Err(error) = check_not_from_a_page(request.headers(), door.settings.insecure) {
        return (StatusCode::FORBIDDEN, envelope(&door, Err(error))).into_response();
    }
    let path = request.uri().path().to_owned();
    let pairs = match pairs(request).await {
        Ok(pairs) => pairs,
        Err(error) => return envelope(&door, Err(error)),
    };
    let words: Vec<&str> =
        path.trim_start_matches("/rest/").split('/').filter(|word| !word.is_empty()).collect();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, door.answer(&words, pairs)).await;
    envelope(&door, answer.unwrap_or_else(|_| Err(late())))
}

/// Batches out of a partition, or why not in an envelope.
async fn read_data(State(door): State<AdminDoor>, request: Request) -> Response {
    let arguments = data_arguments(&door, &request);
    let read = async {
        let arguments = arguments?;
        let _turn = door.data_room.acquire().await;
        door.read_data(&arguments).await
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, read).await {
        Ok(Ok(data)) => {
            let kind = HeaderValue::from_static("application/octet-stream");
            let head = [(header::CONTENT_TYPE, kind), (LOG_START, data.log_start), (END, data.end)];
            (head, data.batches).into_response()
        }
        Ok(Err(error)) => envelope(&door, Err(error)),
        Err(_) => envelope(&door, Err(late())),
    }
}

/// Batches into a partition.
async fn write_data(State(door): State<AdminDoor>, request: Request) -> Response {
    let arguments = data_arguments(&door, &request);
    let write = async {
        let arguments = arguments?;
        let _turn = door.data_room.acquire().await;
        let body = axum::body::to_bytes(request.into_body(), UPLOAD_BYTES_MAX).await;
        let body = body.map_err(|_| {
            Error::limit(format!("send at most {UPLOAD_BYTES_MAX} bytes at a time"))
        })?;
        door.write_data(&arguments, body).await
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, write).await;
    envelope(&door, answer.unwrap_or_else(|_| Err(late())).map(|row| vec![row]))
}

fn data_arguments(door: &AdminDoor, request: &Request) -> Result<Arguments, Error> {
    check_not_from_a_page(request.headers(), door.settings.insecure)?;
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(pairs) = query.map_err(|_| odd("query"))?;
    find_command(&["stream", "data"])?.check(pairs)
}

fn late() -> Error {
    Error::retry("the command is taking too long; see how it went, then try again")
}

fn odd(what: &str) -> Error {
    Error::invalid(format!("the {what} cannot be read; write it as flag=value&flag=value"))
}

/// The flags of the query, and those of a form after them.
async fn pairs(request: Request<Body>) -> Result<Vec<(String, String)>, Error> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(mut pairs) = query.map_err(|_| odd("query"))?;
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if is_form && request.method() != axum::http::Method::GET {
        let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(more) = form.map_err(|_| odd("form"))?;
        pairs.extend(more);
    }
    Ok(pairs)
}

/// A page in a browser on this machine must not be able to administer it: neither by a request of
/// its own, nor by a name that it lets resolve to this address.
fn check_not_from_a_page(headers: &HeaderMap, insecure: bool) -> Result<(), Error> {
    let refused = || {
        Err(Error::denied(
            "requests from web pages are not taken; use the command line, or a client without an \
             Origin",
        ))
    };
    // `none` is a person who typed the address.
    let fetched_by_page = headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    if headers.contains_key(header::ORIGIN) || fetched_by_page {
        return refused();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_ip = bare.parse::<std::net::IpAddr>().is_ok();
    if insecure || is_ip || bare == "localhost" || bare.ends_with(".localhost") {
        return Ok(());
    }
    refused()
}

/// The envelope, with HTTP status 200 whatever it says, as the original's clients expect.
fn envelope(door: &AdminDoor, outcome: Result<Vec<mainstem_api::Row>, Error>) -> Response {
    let clock: &dyn Clock = &*door.env.clock;
    let text = Envelope::new(clock.wall_ms(), outcome).to_json();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
