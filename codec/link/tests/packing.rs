//! Packed payloads: the codec is the caller's, here one that knows nothing but zeros.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use mainstem_link::{
    BatchItem, Batches, Frame, Packing, decode_frame, decode_frame_with, encode_packed,
};
use mainstem_types::limits::LINK_FRAME_BYTES_MAX;
use mainstem_types::{Error, ErrorKind, OriginTopicId, Result};

fn batches(items: &[&'static [u8]]) -> Batches {
    let item =
        |bytes: &&'static [u8]| BatchItem { arrival_ms: 1, bytes: Bytes::from_static(bytes) };
    Batches {
        origin: OriginTopicId(1),
        partition: 0,
        from: 0,
        to: 1,
        gap_from: None,
        lineage: Vec::new(),
        source_end: 1,
        compacted: 0,
        items: items.iter().map(item).collect(),
    }
}

fn pack(plain: &[u8]) -> Vec<u8> {
    assert!(plain.iter().all(|byte| *byte == 0));
    u32::try_from(plain.len()).unwrap().to_be_bytes().to_vec()
}

fn unpack(_: Packing, packed: &[u8], limit: usize) -> Result<Vec<u8>> {
    let length = u32::from_be_bytes(packed.try_into().unwrap()) as usize;
    if length > limit { Err(Error::limit("too long")) } else { Ok(vec![0; length]) }
}

fn packed(batches: &Batches) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_packed(batches, Packing::Zstd, pack, &mut bytes);
    bytes
}

#[test]
fn a_packed_frame_is_read_as_it_was_before() {
    let frame = batches(&[&[0; 1000], &[0; 3], &[0; 500]]);
    let mut bytes = packed(&frame);
    assert!(bytes.len() < 200, "{} bytes", bytes.len());
    assert_eq!(bytes[5], 3, "zstd");
    let read = decode_frame_with(&mut bytes, &unpack).unwrap();
    assert_eq!(read, Some(Frame::Batches(frame)));
    assert!(bytes.is_empty());
}

#[test]
fn what_gains_nothing_goes_as_it_is() {
    let frame = batches(&[b"incompressible"]);
    let mut bytes = BytesMut::new();
    encode_packed(&frame, Packing::Lz4, <[u8]>::to_vec, &mut bytes);
    assert_eq!(bytes[5], 0);
    assert_eq!(decode_frame(&mut bytes).unwrap(), Some(Frame::Batches(frame)));
}

#[test]
fn i7_a_packed_frame_unpacks_to_no_more_than_a_frame_holds() {
    let mut bytes = packed(&batches(&[&[0; 1000]]));
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(decode_frame_with(&mut bytes, &unpack).unwrap_err().kind(), ErrorKind::Limit);
    let most = |_: Packing, _: &[u8], limit: usize| {
        assert_eq!(limit, LINK_FRAME_BYTES_MAX);
        Err(Error::limit("seen"))
    };
    assert!(decode_frame_with(&mut packed(&batches(&[&[0; 1000]])), &most).is_err());
}

#[test]
fn what_unpacks_to_another_length_is_corrupt() {
    for length in [999u32, 1001] {
        let mut bytes = packed(&batches(&[&[0; 1000]]));
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&length.to_be_bytes());
        assert_eq!(decode_frame_with(&mut bytes, &unpack).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn packing_that_was_not_offered_or_is_not_known_is_refused() {
    let mut bytes = packed(&batches(&[&[0; 1000]]));
    assert_eq!(decode_frame(&mut bytes).unwrap_err().kind(), ErrorKind::Unsupported);
    let mut bytes = packed(&batches(&[&[0; 1000]]));
    bytes[5] = 9;
    let error = decode_frame_with(&mut bytes, &unpack).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
