//! The codecs of a batch's records, bounded when they unpack.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::error::RecordError;
use crate::snappy;

/// Windows up to 8 MiB are taken whatever the limit: the highest level that clients use in practice
/// asks for that much even for a small batch.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const ZSTD_LEVEL: i32 = 3;
const READ_BYTES: usize = 16 * 1024;

/// How a batch's records are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, framed as the Java library does.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id in a batch's attributes.
    pub fn from_id(id: i16) -> Result<Self, RecordError> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            _ => Err(RecordError::Compression(id)),
        }
    }

    /// The id in a batch's attributes.
    pub fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name, as in Kafka's `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Records lie as they are.
    pub fn is_none(self) -> bool {
        self == Self::None
    }

    /// Unpacks `packed` to at most `limit` bytes; more is an error, however small the input was.
    pub fn decompress(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, RecordError> {
        let damaged = |_: io::Error| RecordError::Decompress(self.name());
        match self {
            Self::None => Ok(packed.to_vec()),
            Self::Gzip => self.read_bounded(flate2::read::MultiGzDecoder::new(packed), limit),
            Self::Snappy => snappy::decompress(packed, limit),
            Self::Lz4 => self.read_bounded(FrameDecoder::new(packed), limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(damaged)?;
                let log = limit.max(1).next_power_of_two().trailing_zeros();
                let log = log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
                decoder.window_log_max(log).map_err(damaged)?;
                self.read_bounded(decoder, limit)
            }
        }
    }

    /// Reads to the end in small steps, so that memory follows what really unpacks.
    fn read_bounded(self, mut from: impl Read, limit: usize) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::new();
        let mut chunk = [0; READ_BYTES];
        loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => return Ok(out),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(RecordError::Decompress(self.name())),
            };
            if read > limit - out.len() {
                return Err(RecordError::TooLarge { limit });
            }
            out.extend_from_slice(&chunk[..read]);
        }
    }

    /// Packs `plain`; writing to memory cannot fail.
    pub fn compress(self, plain: &[u8]) -> Vec<u8> {
        const IN_MEMORY: &str = "writes to memory do not fail";
        match self {
            Self::None => plain.to_vec(),
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).expect(IN_MEMORY);
                encoder.finish().expect(IN_MEMORY)
            }
            Self::Snappy => snappy::compress(plain),
            Self::Lz4 => {
                // What the Java client writes, and all that old readers take.
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max64KB)
                    .block_mode(BlockMode::Independent);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(plain).expect(IN_MEMORY);
                encoder.finish().expect(IN_MEMORY)
            }
            Self::Zstd => zstd::stream::encode_all(plain, ZSTD_LEVEL).expect(IN_MEMORY),
        }
    }
}
