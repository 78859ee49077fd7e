//! What a frame claims costs nothing until it is there (I7).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use mainstem_wire::{ApiKey, WireError, decode_request, decode_response};

/// Remembers the largest single allocation of each thread, since tests run beside each other.
struct Largest;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts")]
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// Overwrites any four bytes, or one and four, with a count of 2^30 or so, in every version.
#[test]
fn i7_a_claimed_count_allocates_nothing() {
    let claims = [&[0x40, 0, 0, 0][..], &[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x07]];
    for &key in ApiKey::ALL {
        for version in key.supported_versions() {
            for claim in claims {
                for zeros in 0..40 {
                    let body = [&vec![0; zeros][..], claim, &[0; 12]].concat();
                    check(key, version, &body);
                    check(key, version, &[&[0xff, 0xff][..], &body].concat());
                }
            }
        }
    }
}

fn check(key: ApiKey, version: i16, body: &[u8]) {
    let mut frame = [key.code().to_be_bytes(), version.to_be_bytes()].concat();
    frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
    frame.extend_from_slice(body);
    let (frame, body) = (Bytes::from(frame), Bytes::from(body.to_vec()));
    LARGEST.set(0);
    let _ = decode_request(&frame);
    let _ = decode_response(key, version, &body);
    let largest = LARGEST.get();
    assert!(largest <= 16 * 1024, "{key:?} {version} {body:?}: {largest} bytes at once");
}

/// The frame that brings the generated codec down: produce, and 2^30 topics.
#[test]
fn i7_a_produce_frame_of_2_to_the_30_topics_is_an_error() {
    let mut frame = [0i16.to_be_bytes(), 7i16.to_be_bytes()].concat();
    frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
    frame.extend_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 9]);
    frame.extend_from_slice(&(1i32 << 30).to_be_bytes());
    let Err(WireError::Malformed(malformed)) = decode_request(&Bytes::from(frame)) else {
        panic!("decoded");
    };
    assert!(malformed.reason.contains("more elements"), "{malformed}");
}

/// Two megabytes of empty names would be forty in memory, and a hundred times more in a frame as
/// large as is allowed.
#[test]
fn i7_elements_that_are_there_are_still_counted() {
    let count = 1_100_000i32;
    let mut frame = [3i16.to_be_bytes(), 1i16.to_be_bytes()].concat();
    frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
    frame.extend_from_slice(&count.to_be_bytes());
    frame.resize(frame.len() + 2 * count as usize, 0);
    let Err(WireError::Malformed(malformed)) = decode_request(&Bytes::from(frame)) else {
        panic!("decoded");
    };
    assert!(malformed.reason.contains("too many elements"), "{malformed}");
}
