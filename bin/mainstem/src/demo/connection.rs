//! A plain connection to a Kafka listener: one request, one answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use mainstem_types::Error;
use mainstem_types::limits::REQUEST_BYTES_MAX;
use mainstem_wire::{Request, Response, decode_response, encode_request, frame_bytes};

/// No answer for so long means that the server is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Connection {
    socket: TcpStream,
    correlation_id: i32,
}

impl Connection {
    pub(crate) fn open(address: &str) -> Result<Self, Error> {
        let open = || {
            let socket = TcpStream::connect(address)?;
            socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            socket.set_nodelay(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|e: std::io::Error| lost(address, &e))?;
        Ok(Self { socket, correlation_id: 0 })
    }

    /// Asks and waits for the answer.
    pub(crate) fn call(
        &mut self,
        request: impl Into<Request>,
        version: i16,
    ) -> Result<Response, Error> {
        let request = request.into();
        self.correlation_id += 1;
        let frame = encode_request(&request, version, self.correlation_id, Some("demo"));
        let answer = self.exchange(&frame.concat()).map_err(|e| lost("the server", &e))?;
        let odd = |e| Error::corrupt(format!("the server's answer: {e}"));
        let decoded = decode_response(request.api_key(), version, &answer).map_err(odd)?;
        Ok(decoded.1)
    }

    fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.socket.write_all(frame)?;
        let mut word = [0; 4];
        self.socket.read_exact(&mut word)?;
        let length = frame_bytes(word, REQUEST_BYTES_MAX).map_err(std::io::Error::other)?;
        let mut answer = Vec::new();
        let read = (&self.socket).take(length as u64).read_to_end(&mut answer)?;
        if read < length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.into())
    }
}

fn lost(whom: &str, error: &std::io::Error) -> Error {
    Error::unreachable(format!("{whom} does not answer: {error}"))
}
