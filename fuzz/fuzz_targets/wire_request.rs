//! Whatever a client sends is a request or an error, and a request says the same when it is
//! written and read again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstem_wire::{decode_request, encode_request};

fuzz_target!(|data: &[u8]| {
    let Ok((header, request)) = decode_request(&Bytes::copy_from_slice(data)) else { return };
    let client_id = header.client_id.as_deref();
    let frame = encode_request(&request, header.api_version, header.correlation_id, client_id);
    let frame = Bytes::from(frame.concat()).slice(4..);
    assert_eq!(decode_request(&frame), Ok((header, request)));
});
