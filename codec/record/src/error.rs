//! What can be wrong with a batch, and what its holder should do about it.

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The buffer ends before the batch does.
    #[error("batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes the batch says it has (or the header's size when not even that has arrived).
        needed: usize,
        /// Bytes in the buffer.
        available: usize,
    },
    /// The length word is smaller than a header.
    #[error("batch length word {0} is less than the header's own 49")]
    Length(i32),
    /// An old message format, or not a batch at all.
    #[error("record format {0}, only 2 is spoken here")]
    Magic(i8),
    /// More bytes follow where exactly one batch was due.
    #[error("{0} bytes follow the batch where exactly one was due")]
    Trailing(usize),
    /// The checksum does not match the bytes.
    #[error("checksum is {stated:08x} in the header, {computed:08x} over the bytes")]
    Crc {
        /// As written in the header.
        stated: u32,
        /// As computed.
        computed: u32,
    },
    /// A compression id that is not assigned.
    #[error("compression type {0} is not one of none, gzip, snappy, lz4, zstd")]
    Compression(i16),
    /// The compressed bytes are not what their codec writes.
    #[error("{0} data is damaged")]
    Decompress(&'static str),
    /// The records are larger, decompressed, than the caller allows.
    #[error("records exceed {limit} bytes when decompressed")]
    TooLarge {
        /// The caller's limit.
        limit: usize,
    },
    /// A field's value contradicts the format; the text says which.
    #[error("{0}")]
    Invalid(&'static str),
}

/// What the holder of a refused batch should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordErrorKind {
    /// The bytes were damaged on their way or at rest: send them, or read them, again.
    Corrupt,
    /// The producer built a batch that is not allowed: sending it again will not help.
    Invalid,
    /// The codec is not known here.
    UnsupportedCompression,
    /// Larger than allowed.
    TooLarge,
}

impl RecordError {
    /// The next step this error asks for.
    pub fn kind(&self) -> RecordErrorKind {
        match self {
            Self::Truncated { .. } | Self::Length(_) | Self::Crc { .. } | Self::Decompress(_) => {
                RecordErrorKind::Corrupt
            }
            Self::Magic(_) | Self::Trailing(_) | Self::Invalid(_) => RecordErrorKind::Invalid,
            Self::Compression(_) => RecordErrorKind::UnsupportedCompression,
            Self::TooLarge { .. } => RecordErrorKind::TooLarge,
        }
    }
}
