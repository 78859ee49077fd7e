//! How the batches of a frame are packed on their way. The codecs are not this crate's: whoever
//! writes and reads frames brings them.

use mainstem_types::limits::LINK_FRAME_BYTES_MAX;
use mainstem_types::{Error, Result};

/// Feature bit of Hello and Welcome: this end unpacks.
pub const FEATURE_PACKING: u64 = 1;

/// The codec of a packed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// LZ4 frames.
    Lz4,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Packing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lz4, Self::Gzip, Self::Zstd];

    /// The number in a frame's flags; 0 is a payload as it is.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Lz4 => 1,
            Self::Gzip => 2,
            Self::Zstd => 3,
        }
    }

    pub(crate) fn of_flags(flags: u8) -> Result<Option<Self>> {
        if flags == 0 {
            return Ok(None);
        }
        let known = Self::ALL.into_iter().find(|packing| packing.number() == flags);
        let unknown = || Error::unsupported(format!("frame flags {flags:#x} are not known here"));
        known.ok_or_else(unknown).map(Some)
    }
}

/// Unpacks a payload to at most so many bytes; more is an error, whatever the input was (I7).
pub type Unpack<'a> = &'a dyn Fn(Packing, &[u8], usize) -> Result<Vec<u8>>;

/// For an end that has offered no packing.
pub(crate) fn refuse(_: Packing, _: &[u8], _: usize) -> Result<Vec<u8>> {
    Err(Error::unsupported("a packed frame came to an end that did not offer to unpack"))
}

/// What a packed payload may unpack to: what a frame could have carried as it is.
pub(crate) const UNPACKED_BYTES_MAX: usize = LINK_FRAME_BYTES_MAX;
