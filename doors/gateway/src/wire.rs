//! Frames over a stream of bytes.

use bytes::BytesMut;
use mainstem_link::{Batches, Frame, Packing, decode_frame_with, encode_frame, encode_packed};
use mainstem_record::{BatchHeader, Compression};
use mainstem_types::{Error, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Room for reading is made in steps of this size,
const READ_BYTES: usize = 64 * 1024;
/// when less than this is left.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Takes frames off a connection.
pub(crate) struct FrameReader {
    stream: ReadHalf<TlsStream<TcpStream>>,
    arrived: BytesMut,
}

impl FrameReader {
    /// The next frame. May be dropped while it waits: what has arrived stays.
    pub(crate) async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = decode_frame_with(&mut self.arrived, &unpack)? {
                return Ok(frame);
            }
            if self.arrived.capacity() - self.arrived.len() < READ_BYTES_MIN {
                self.arrived.reserve(READ_BYTES);
            }
            match self.stream.read_buf(&mut self.arrived).await {
                Ok(0) => return Err(Error::unreachable("the peer closed the connection")),
                Ok(_) => {}
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}

/// Puts frames on a connection, as fast as it takes them.
pub(crate) struct FrameWriter {
    stream: WriteHalf<TlsStream<TcpStream>>,
    out: BytesMut,
    flushed: bool,
    packing: Option<Packing>,
}

impl FrameWriter {
    /// From here on batches that their producer did not compress are packed.
    pub(crate) fn pack_by(&mut self, packing: Option<Packing>) {
        self.packing = packing;
    }

    /// Adds a frame to what is to be written.
    pub(crate) fn push(&mut self, frame: &Frame) {
        match (self.packing, frame) {
            (Some(packing), Frame::Batches(batches)) if is_mostly_plain(batches) => {
                let codec = codec_of(packing);
                encode_packed(batches, packing, |plain| codec.compress(plain), &mut self.out);
            }
            _ => encode_frame(frame, &mut self.out),
        }
        self.flushed = false;
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether [`Self::write_some`] has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.out.is_empty() || !self.flushed
    }

    /// Writes some of what waits, or flushes when all is written. May be dropped while it waits.
    pub(crate) async fn write_some(&mut self) -> Result<(), Error> {
        if self.out.is_empty() {
            self.stream.flush().await.map_err(|e| lost(&e))?;
            self.flushed = true;
            return Ok(());
        }
        self.stream.write_buf(&mut self.out).await.map_err(|e| lost(&e))?;
        Ok(())
    }

    /// Writes all that waits.
    pub(crate) async fn write_all(&mut self) -> Result<(), Error> {
        while self.has_work() {
            self.write_some().await?;
        }
        Ok(())
    }

    /// Says goodbye to the stream beneath; the frames must be out.
    pub(crate) async fn shutdown(&mut self) {
        // The peer may be gone already, which comes to the same.
        let _ = self.stream.shutdown().await;
    }
}

/// Both directions of a connection.
pub(crate) fn split(stream: TlsStream<TcpStream>) -> (FrameReader, FrameWriter) {
    let (read, write) = tokio::io::split(stream);
    (
        FrameReader { stream: read, arrived: BytesMut::new() },
        FrameWriter { stream: write, out: BytesMut::new(), flushed: true, packing: None },
    )
}

const fn codec_of(packing: Packing) -> Compression {
    match packing {
        Packing::Lz4 => Compression::Lz4,
        Packing::Gzip => Compression::Gzip,
        Packing::Zstd => Compression::Zstd,
    }
}

fn unpack(packing: Packing, packed: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    codec_of(packing).decompress(packed, limit).map_err(|e| Error::corrupt(e.to_string()))
}

/// Whether packing can gain anything: what a producer compressed gets no smaller.
fn is_mostly_plain(batches: &Batches) -> bool {
    let is_plain = |bytes: &[u8]| {
        let header = BatchHeader::decode(bytes);
        header.is_ok_and(|header| header.attributes.compression().is_ok_and(Compression::is_none))
    };
    let plain = batches.items.iter().filter(|item| is_plain(&item.bytes));
    let bytes: usize = plain.map(|item| item.bytes.len()).sum();
    bytes > batches.payload_bytes() / 2
}

fn lost(error: &std::io::Error) -> Error {
    // Of a peer that is killed the TLS library says more than helps, with a link to its manual.
    let why = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the peer is gone without a word".to_owned(),
        _ => error.to_string(),
    };
    Error::new(ErrorKind::Unreachable, format!("the connection was lost: {why}"))
}
