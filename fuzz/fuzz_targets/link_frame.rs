//! Whatever a peer sends on a link is frames or an error, and a frame says the same when it is
//! written and read again.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mainstem_link::{decode_frame, encode_frame};

fuzz_target!(|data: &[u8]| {
    read_all(data);
    // A first frame whose lengths are right, which random bytes seldom have.
    if let Some((kind, header)) = data.split_first() {
        let header_length = u32::try_from(header.len()).expect("inputs are small");
        let mut frame = (header_length + 6).to_be_bytes().to_vec();
        frame.extend([*kind, 0]);
        frame.extend(header_length.to_be_bytes());
        frame.extend(header);
        read_all(&frame);
    }
});

fn read_all(data: &[u8]) {
    let mut arrived = BytesMut::from(data);
    while let Ok(Some(frame)) = decode_frame(&mut arrived) {
        let mut written = BytesMut::new();
        encode_frame(&frame, &mut written);
        assert_eq!(decode_frame(&mut written), Ok(Some(frame)));
        assert!(written.is_empty());
    }
}
