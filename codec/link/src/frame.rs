//! A frame: length, kind, header, payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mainstem_types::limits::LINK_FRAME_BYTES_MAX;
use mainstem_types::{Error, Result};
use minicbor::{Decode, Encode};

use crate::batches::BatchesHeader;
use crate::packing::{Packing, UNPACKED_BYTES_MAX, Unpack, refuse};
use crate::{
    Ack, Batches, Bye, Credit, Cursors, Digests, Fault, Feed, Forwarded, HandOver, Heartbeat,
    Hello, HighWatermarks, Positions, Refused, Rejoin, Reply, Request, Terms, Topics,
    TransactionDecisions, Trims, Welcome,
};

/// Bytes before the header: body length (u32), kind (u8), flags (u8), header length (u32), all
/// most significant byte first. The body length counts what follows it.
pub const PREFIX_BYTES: usize = 10;
/// The longest header: lists within it are chunked to stay far below.
pub const HEADER_BYTES_MAX: usize = 2 * 1024 * 1024;

const BODY_MIN: usize = PREFIX_BYTES - 4;

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident = $kind:literal,)*) => {
        /// Everything that is said on a link.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame {
            $($(#[$doc])* $name($name),)*
            /// Batches of one partition, raw behind their header.
            Batches(Batches),
        }

        impl Frame {
            /// Every kind byte, except that of batches.
            pub const KINDS: &[u8] = &[$($kind),*];

            /// The kind byte.
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $kind,)*
                    Self::Batches(_) => BATCHES,
                }
            }

            /// The kind's name, for logs.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Batches(_) => "Batches",
                }
            }
        }

        $(impl From<$name> for Frame {
            fn from(frame: $name) -> Self {
                Self::$name(frame)
            }
        })*

        impl From<Batches> for Frame {
            fn from(frame: Batches) -> Self {
                Self::Batches(frame)
            }
        }

        fn encode_header(frame: &Frame) -> Vec<u8> {
            match frame {
                $(Frame::$name(header) => to_cbor(header),)*
                Frame::Batches(batches) => to_cbor(&batches.header()),
            }
        }

        fn decode_body(kind: u8, header: &[u8], payload: Bytes) -> Result<Option<Frame>> {
            if kind != BATCHES && !payload.is_empty() {
                return Err(Error::corrupt("a frame has bytes behind its header"));
            }
            match kind {
                $($kind => from_cbor::<$name>(header).map(|header| Some(Frame::$name(header))),)*
                BATCHES => {
                    let header: BatchesHeader = from_cbor(header)?;
                    Batches::from_parts(header, payload).map(|batches| Some(Frame::Batches(batches)))
                }
                OPTIONAL_FROM.. => Ok(None),
                _ => Err(Error::unsupported(format!("frame kind {kind} is not known here"))),
            }
        }
    };
}

/// Batches carry raw bytes and are handled apart from the others.
const BATCHES: u8 = 5;
/// Kinds from here on may be skipped by those who do not know them.
const OPTIONAL_FROM: u8 = 128;

frames! {
    /// The sender opens a link.
    Hello = 1,
    /// The receiver's state, in chunks.
    Welcome = 2,
    /// The receiver will not have the link.
    Refused = 3,
    /// Topics and tombstones.
    Topics = 4,
    /// Durable ends at the replica.
    Ack = 6,
    /// Room for more batches.
    Credit = 7,
    /// Consumer groups' cursors.
    Cursors = 8,
    /// High watermarks of the source.
    HighWatermarks = 9,
    /// Sign of life.
    Heartbeat = 10,
    /// Log starts moved by DeleteRecords.
    Trims = 11,
    /// Outcomes of transactions.
    TransactionDecisions = 12,
    /// Ends from a link that is not the feeder.
    Positions = 13,
    /// Digests for the proof of equality.
    Digests = 14,
    /// Changes of ownership.
    Terms = 15,
    /// One topic or partition stops.
    Fault = 16,
    /// The end, in order.
    Bye = 17,
    /// A one-shot request.
    Request = 18,
    /// Its answer.
    Reply = 19,
    /// Who calls, as a gateway of the same cluster saw it.
    Forwarded = 24,
    /// A log is to rejoin its owner's history.
    Rejoin = 25,
    /// The replica may take over.
    HandOver = 26,
    /// Which topics this link is to feed.
    Feed = 27,
}

/// Appends the frame's bytes to `out`.
pub fn encode_frame(frame: &Frame, out: &mut BytesMut) {
    let items = match frame {
        Frame::Batches(batches) => &batches.items[..],
        _ => &[],
    };
    let payload: usize = items.iter().map(|item| item.bytes.len()).sum();
    put_head(frame, 0, payload, out);
    for item in items {
        out.put_slice(&item.bytes);
    }
}

/// As [`encode_frame`], with the payload packed by `pack`, unless that gains less than a sixteenth.
pub fn encode_packed(
    batches: &Batches,
    packing: Packing,
    pack: impl Fn(&[u8]) -> Vec<u8>,
    out: &mut BytesMut,
) {
    let mut plain = Vec::with_capacity(batches.payload_bytes());
    batches.items.iter().for_each(|item| plain.extend_from_slice(&item.bytes));
    let packed = pack(&plain);
    let gains = packed.len() < plain.len() - plain.len() / 16;
    let (flags, payload) = if gains { (packing.number(), packed) } else { (0, plain) };
    put_head(&Frame::Batches(batches.clone()), flags, payload.len(), out);
    out.put_slice(&payload);
}

fn put_head(frame: &Frame, flags: u8, payload: usize, out: &mut BytesMut) {
    let header = encode_header(frame);
    let body = BODY_MIN + header.len() + payload;
    assert!(header.len() <= HEADER_BYTES_MAX, "a {} frame was not chunked", frame.name());
    assert!(body <= LINK_FRAME_BYTES_MAX, "a {} frame passes the limit", frame.name());
    out.reserve(4 + body);
    out.put_u32(u32::try_from(body).expect("checked against the limit"));
    out.put_u8(frame.kind());
    out.put_u8(flags);
    out.put_u32(u32::try_from(header.len()).expect("checked against the limit"));
    out.put_slice(&header);
}

/// Takes one frame off the front of what has arrived; `None` until it is whole. Frames of unknown
/// optional kinds are passed over, packed ones refused. After an error the connection is of no
/// more use.
pub fn decode_frame(arrived: &mut BytesMut) -> Result<Option<Frame>> {
    decode_frame_with(arrived, &refuse)
}

/// As [`decode_frame`], at an end that unpacks.
pub fn decode_frame_with(arrived: &mut BytesMut, unpack: Unpack<'_>) -> Result<Option<Frame>> {
    loop {
        let Some(prefix) = arrived.first_chunk::<4>() else { return Ok(None) };
        let body = u32::from_be_bytes(*prefix) as usize;
        if !(BODY_MIN..=LINK_FRAME_BYTES_MAX).contains(&body) {
            return Err(Error::limit(format!(
                "a frame of {body} bytes is outside of {BODY_MIN} to {LINK_FRAME_BYTES_MAX}"
            )));
        }
        if let Some(header) = arrived.get(6..PREFIX_BYTES) {
            check_header_length(header, body)?;
        }
        if arrived.len() < 4 + body {
            return Ok(None);
        }
        arrived.advance(4);
        let mut frame = arrived.split_to(body).freeze();
        let (kind, flags) = (frame.get_u8(), frame.get_u8());
        let header_length = frame.get_u32() as usize;
        let header = frame.split_to(header_length);
        let frame = match Packing::of_flags(flags).transpose().filter(|_| kind < OPTIONAL_FROM) {
            None => own_payload(frame, body),
            Some(packing) => unpack(packing?, &frame, UNPACKED_BYTES_MAX)?.into(),
        };
        if let Some(frame) = decode_body(kind, &header, frame)? {
            return Ok(Some(frame));
        }
    }
}

/// Batches are kept in memory long after their frame: those that are small beside it, or beside
/// the buffer that they arrived in, get bytes of their own rather than hold all of that.
fn own_payload(payload: Bytes, body: usize) -> Bytes {
    const SHARE_FROM_BYTES: usize = 64 * 1024;
    if payload.len() < SHARE_FROM_BYTES || payload.len() * 2 < body {
        return Bytes::copy_from_slice(&payload);
    }
    payload
}

fn check_header_length(bytes: &[u8], body: usize) -> Result<()> {
    let length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if length > HEADER_BYTES_MAX || length > body - BODY_MIN {
        return Err(Error::limit(format!("a header of {length} bytes in a frame of {body}")));
    }
    Ok(())
}

fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to memory does not fail")
}

fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T> {
    minicbor::decode(bytes).map_err(|error| Error::corrupt(format!("a frame's header: {error}")))
}
