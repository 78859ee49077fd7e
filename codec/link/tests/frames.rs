//! The bytes of frames: golden files, round trips, damage, and what a newer peer may send.

mod samples;

use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use mainstem_link::*;
use mainstem_types::limits::{LINK_CHUNK_ITEMS_MAX, LINK_FRAME_BYTES_MAX};
use mainstem_types::{ErrorKind, OriginTopicId};
use proptest::prelude::*;

fn encoded(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(frame, &mut bytes);
    bytes
}

fn raw(kind: u8, header: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(u32::try_from(header.len() + PREFIX_BYTES - 4).unwrap());
    bytes.put_slice(&[kind, 0]);
    bytes.put_u32(u32::try_from(header.len()).unwrap());
    bytes.put_slice(header);
    bytes
}

#[test]
fn every_kind_is_as_it_was_released() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/link/v1");
    let mut kinds = Vec::new();
    for frame in samples::frames() {
        let path = folder.join(format!("{:02}-{}.bin", frame.kind(), frame.name()));
        if std::env::var_os("MAINSTEM_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, encoded(&frame)).unwrap();
        }
        let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(encoded(&frame), golden, "{} is sent otherwise than before", frame.name());
        let read = decode_frame(&mut BytesMut::from(&golden[..])).unwrap().unwrap();
        assert_eq!(read, frame);
        kinds.push(frame.kind());
    }
    kinds.sort_unstable();
    kinds.retain(|kind| *kind != 5);
    assert_eq!(kinds, Frame::KINDS, "a kind without a golden file");
}

#[test]
fn a_frame_cut_anywhere_waits_or_errs_and_never_panics() {
    for frame in samples::frames() {
        let whole = encoded(&frame);
        for length in 0..whole.len() {
            let mut cut = BytesMut::from(&whole[..length]);
            assert_eq!(decode_frame(&mut cut).unwrap(), None, "{} at {length}", frame.name());
        }
    }
}

#[test]
fn a_header_cut_anywhere_is_an_error() {
    for frame in samples::frames() {
        let whole = encoded(&frame);
        let length = u32::from_be_bytes(whole[6..10].try_into().unwrap()) as usize;
        for kept in 0..length {
            let mut cut = raw(frame.kind(), &whole[PREFIX_BYTES..PREFIX_BYTES + kept]);
            assert!(decode_frame(&mut cut).is_err(), "{} with {kept} bytes", frame.name());
        }
    }
}

#[test]
fn two_frames_in_one_read_come_out_in_order() {
    let frames = samples::frames();
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| encode_frame(frame, &mut bytes));
    let mut read = Vec::new();
    while let Some(frame) = decode_frame(&mut bytes).unwrap() {
        read.push(frame);
    }
    assert_eq!(read, frames);
    assert!(bytes.is_empty());
}

#[test]
fn unknown_keys_and_unknown_optional_kinds_are_passed_over() {
    // {0: 25, 99: {"later": [1, 2]}} as a credit.
    let header = b"\xa2\x00\x18\x19\x18\x63\xa1\x65later\x82\x01\x02";
    let mut bytes = raw(200, b"\xf6");
    bytes.extend_from_slice(&raw(7, header));
    let frame = decode_frame(&mut bytes).unwrap().unwrap();
    assert_eq!(frame, Frame::Credit(Credit { bytes: 25 }));
    assert_eq!(decode_frame(&mut raw(99, b"\xf6")).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn unknown_codes_are_kept_as_numbers() {
    for code in Code::ALL {
        assert_eq!(Code::from_number(code.number()), *code);
    }
    assert_eq!(Code::from_number(4_000), Code::Unknown(4_000));
}

#[test]
fn i7_lengths_are_checked_before_anything_is_allocated() {
    for body in [0, 5, LINK_FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut bytes = BytesMut::from(&body.to_be_bytes()[..]);
        assert_eq!(decode_frame(&mut bytes).unwrap_err().kind(), ErrorKind::Limit);
    }
    let mut header = BytesMut::from(&[0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff][..]);
    assert_eq!(decode_frame(&mut header).unwrap_err().kind(), ErrorKind::Limit);
    // {0: [2^30 items...
    let mut list = raw(6, b"\xa1\x00\x9a\x40\x00\x00\x00");
    assert_eq!(decode_frame(&mut list).unwrap_err().kind(), ErrorKind::Corrupt);
    // {0: "2 GiB of text...
    let mut text = raw(17, b"\xa1\x01\x7a\x7f\xff\xff\xff");
    assert_eq!(decode_frame(&mut text).unwrap_err().kind(), ErrorKind::Corrupt);
    let ends = vec![End { origin: OriginTopicId(1), partition: 0, offset: 0 }; 4096];
    let mut many = encoded(&Ack { ends, ..Ack::default() }.into());
    assert!(decode_frame(&mut many).is_err(), "more than {LINK_CHUNK_ITEMS_MAX} items");
}

#[test]
fn batches_account_for_every_byte() {
    let batches = Batches {
        origin: OriginTopicId(1),
        partition: 0,
        from: 0,
        to: 1,
        gap_from: None,
        lineage: Vec::new(),
        source_end: 1,
        compacted: 0,
        items: vec![BatchItem { arrival_ms: 0, bytes: Bytes::from_static(b"12345") }],
    };
    let mut longer = encoded(&batches.clone().into());
    longer.put_u8(0);
    let body = u32::from_be_bytes(longer[..4].try_into().unwrap()) + 1;
    longer[..4].copy_from_slice(&body.to_be_bytes());
    assert_eq!(decode_frame(&mut longer).unwrap_err().kind(), ErrorKind::Corrupt);
    let mut shorter = encoded(&batches.into());
    shorter.truncate(shorter.len() - 1);
    shorter[..4].copy_from_slice(&(body - 2).to_be_bytes());
    assert_eq!(decode_frame(&mut shorter).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_small_batch_does_not_hold_the_buffer_it_came_in() {
    let batch = |length: usize| Batches {
        origin: OriginTopicId(1),
        partition: 0,
        from: 0,
        to: 1,
        gap_from: None,
        lineage: Vec::new(),
        source_end: 1,
        compacted: 0,
        items: vec![BatchItem { arrival_ms: 0, bytes: vec![7; length].into() }],
    };
    for (length, shares) in [(100, false), (200_000, true)] {
        let mut bytes = encoded(&batch(length).into());
        let arrived = bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len();
        let Some(Frame::Batches(read)) = decode_frame(&mut bytes).unwrap() else { panic!() };
        let lies_in_it = arrived.contains(&(read.items[0].bytes.as_ptr() as usize));
        assert_eq!(lies_in_it, shares, "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_written_is_read(
        origin: u128, partition: u32, from: i64, to: i64, gap: Option<i64>, source_end: i64,
        compacted in 0..i64::MAX,
        items in proptest::collection::vec((any::<i64>(), "[a-z]{0,40}"), 0..20),
        lineage in proptest::collection::vec((any::<i32>(), any::<i64>(), any::<u128>()), 0..5),
    ) {
        let frame = Frame::Batches(Batches {
            origin: OriginTopicId(origin), partition, from, to, gap_from: gap, source_end, compacted,
            lineage: lineage.into_iter().map(|(leader_epoch, start_offset, id)| mainstem_types::LineageEntry {
                leader_epoch, start_offset, term_id: mainstem_types::TermId(id),
                owner: mainstem_types::StreamId(!id),
                markers: 0,
            }).collect(),
            items: items.into_iter().map(|(arrival_ms, text)| BatchItem {
                arrival_ms, bytes: Bytes::from(text),
            }).collect(),
        });
        let mut bytes = encoded(&frame);
        prop_assert_eq!(decode_frame(&mut bytes).unwrap(), Some(frame));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn cursors_survive_whatever_clients_write(
        cursors in proptest::collection::vec(
            (".{0,30}", any::<u128>(), any::<u32>(), any::<i64>(), any::<i32>(), ".{0,60}",
             any::<i64>(), any::<u64>()), 0..20), term: u128,
    ) {
        let cursors = cursors.into_iter()
            .map(|(group, origin, partition, offset, leader_epoch, metadata, commit_ms, version)| {
                CursorItem {
                    group, origin: OriginTopicId(origin), partition, offset, leader_epoch,
                    metadata, commit_ms, version,
                    term: mainstem_types::TermId(term),
                }
            })
            .collect();
        let frame = Frame::Cursors(Cursors { cursors });
        prop_assert_eq!(decode_frame(&mut encoded(&frame)).unwrap(), Some(frame));
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..28) {
        let _ = decode_frame(&mut BytesMut::from(&noise[..]));
        let _ = decode_frame(&mut raw(kind, &noise));
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..400, bit in 0u8..8, pick in 0usize..21) {
        let mut bytes = encoded(&samples::frames()[pick]);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = decode_frame(&mut bytes);
    }
}

#[test]
fn what_came_after_the_first_version_is_as_it_was_released() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/link/v1");
    let later = [("welcome-trimmed.bin", samples::welcome_with_trims())];
    let later = later.into_iter().chain(samples::of_status()).chain(samples::of_a_proof());
    let later = later.chain(samples::of_another_owner()).chain(samples::of_compaction());
    for (name, frame) in samples::of_a_copy().into_iter().chain(later) {
        let path = folder.join(name);
        if std::env::var_os("MAINSTEM_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, encoded(&frame)).unwrap();
        }
        let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(encoded(&frame), golden, "{name} is sent otherwise than before");
        let read = decode_frame(&mut BytesMut::from(&golden[..])).unwrap().unwrap();
        assert_eq!(read, frame);
        for length in 0..golden.len() {
            let mut cut = BytesMut::from(&golden[..length]);
            assert_eq!(decode_frame(&mut cut).unwrap(), None, "{name} at {length}");
        }
    }
}
