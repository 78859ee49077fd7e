//! Settings of streams and topics that have a small fixed set of values.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Whose clock stamps a record: `createtime` keeps the producer's, `logappendtime` is the owner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's own value is kept.
    #[default]
    CreateTime,
    /// The owner's clock at append.
    LogAppendTime,
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateTime => "createtime",
            Self::LogAppendTime => "logappendtime",
        })
    }
}

impl FromStr for TimestampType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "createtime" => Ok(Self::CreateTime),
            "logappendtime" => Ok(Self::LogAppendTime),
            _ => Err(Error::invalid(format!(
                "\"{text}\" is not a timestamp type; give createtime or logappendtime"
            ))),
        }
    }
}

/// A stream's `-compression` word. Batches are kept as the producer encoded them; the word is
/// what `stream info` shows and what a link's `-networkcompression` defaults to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StreamCompression {
    /// None.
    Off,
    /// The original's default where a parent directory says nothing else.
    #[default]
    Lz4,
    /// Kept for the original's scripts.
    Lzf,
    /// Denser, slower.
    Zlib,
    /// Denser than LZ4 and faster than zlib; ours, for links only.
    Zstd,
}

impl fmt::Display for StreamCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Lz4 => "lz4",
            Self::Lzf => "lzf",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}

impl FromStr for StreamCompression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "lz4" => Ok(Self::Lz4),
            "lzf" => Ok(Self::Lzf),
            "zlib" => Ok(Self::Zlib),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Error::invalid(format!(
                "\"{text}\" is not a compression; give off, lz4, lzf, zlib or zstd"
            ))),
        }
    }
}
