//! Frames in and out of a socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use mainstem_types::limits::REQUEST_BYTES_MAX;
use mainstem_wire::{WireError, frame_bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Room for what has not come yet: at least this, at most as much again as has come.
const GROWTH_BYTES_MIN: usize = 64 * 1024;
/// Pieces in one vectored write; Linux takes 1024.
const SLICES_MAX: usize = 64;

/// Why there are no more frames.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer has closed, between two frames or in the middle of one.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// The length is beyond the limit: nothing was allocated for it (I7).
    Length(WireError),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the client"),
            Self::Io(error) => error.fmt(f),
            Self::Length(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

/// Reads one frame, without its length word. Memory grows only with the bytes that have arrived
/// (I7), and belongs to this frame alone, so that a batch in it can be stamped in place.
pub(crate) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, ReadError> {
    let mut word = [0; 4];
    from.read_exact(&mut word).await?;
    let length = frame_bytes(word, REQUEST_BYTES_MAX).map_err(ReadError::Length)?;
    let mut frame = BytesMut::new();
    while frame.len() < length {
        let missing = length - frame.len();
        frame.reserve(missing.min(frame.len().max(GROWTH_BYTES_MIN)));
        let room = u64::try_from(missing).expect("frames are far below 2^64 bytes");
        if from.take(room).read_buf(&mut frame).await? == 0 {
            return Err(ReadError::Closed);
        }
    }
    Ok(frame.freeze())
}

/// Writes the pieces of one frame without copying them.
pub(crate) async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    pieces: Vec<Bytes>,
) -> io::Result<()> {
    let mut pieces: VecDeque<Bytes> = pieces.into();
    while !pieces.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let mut written = to.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            pieces.pop_front();
        }
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i7_a_huge_length_costs_nothing() {
        let mut bytes: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert!(matches!(read_frame(&mut bytes).await, Err(ReadError::Length(_))));
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff];
        assert!(matches!(read_frame(&mut bytes).await, Err(ReadError::Length(_))));
        // A length that is allowed, but of which little comes.
        let mut bytes: &[u8] = &[0x03, 0, 0, 0, 1, 2, 3];
        assert!(matches!(read_frame(&mut bytes).await, Err(ReadError::Closed)));
    }

    #[tokio::test]
    async fn frames_survive_being_cut_anywhere() {
        let (near, mut far) = tokio::io::duplex(7);
        let pieces: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; n.into()])).collect();
        let total: usize = pieces.iter().map(Bytes::len).sum();
        let expected: Vec<u8> = pieces.concat();
        let writer = tokio::spawn(async move {
            let mut near = near;
            let word = u32::try_from(total).unwrap().to_be_bytes();
            write_frame(&mut near, vec![Bytes::copy_from_slice(&word)]).await.unwrap();
            write_frame(&mut near, pieces).await.unwrap();
        });
        assert_eq!(read_frame(&mut far).await.unwrap(), expected);
        writer.await.unwrap();
        assert!(matches!(read_frame(&mut far).await, Err(ReadError::Closed)));
    }
}
