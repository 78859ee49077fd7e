//! Whole frames: the length, the header, the body.

use bytes::Bytes;

use crate::api::{ApiKey, Request, Response};
use crate::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::error::WireError;
use crate::kafka_error::KafkaError;
use crate::message::Message;
use crate::reader::Reader;
use crate::rope::Rope;
use crate::value::{Shape, Wire};

/// A request header's client id has the old encoding in all versions.
const CLIENT_ID: Shape = Shape { version: 1, flexible: false, nullable: true };

/// What precedes a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// What is asked for.
    pub api_key: ApiKey,
    /// In which version the request is, and the response shall be.
    pub api_version: i16,
    /// Repeated in the response.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
}

/// Reads the word before a frame: the number of bytes that follow, at most `bytes_max`.
pub fn frame_bytes(word: [u8; 4], bytes_max: usize) -> Result<usize, WireError> {
    let length = i32::from_be_bytes(word);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= bytes_max => Ok(bytes),
        _ => Err(WireError::FrameLength(length)),
    }
}

/// Reads a request frame, without its length word. Byte fields of the request share `frame`.
pub fn decode_request(frame: &Bytes) -> Result<(RequestHeader, Request), WireError> {
    let mut from = Reader::new(frame.clone());
    let code = i16::from_be_bytes(from.take_array()?);
    let api_version = i16::from_be_bytes(from.take_array()?);
    let correlation_id = i32::from_be_bytes(from.take_array()?);
    let Some(api_key) = ApiKey::from_code(code) else {
        return Err(WireError::UnknownApi { api_key: code, api_version, correlation_id });
    };
    if !api_key.supported_versions().contains(&api_version) {
        return Err(WireError::UnsupportedVersion { api_key, api_version, correlation_id });
    }
    let client_id = Wire::decode(&mut from, CLIENT_ID)?;
    if api_key.is_flexible(api_version) {
        from.skip_tagged()?;
    }
    let body = frame.slice(frame.len() - from.remaining()..);
    let request = Request::decode(api_key, api_version, body)?;
    Ok((RequestHeader { api_key, api_version, correlation_id, client_id }, request))
}

/// Writes a response frame, length word included, for the request with this header. The pieces
/// are for one vectored write; record sets are among them uncopied.
pub fn encode_response(header: &RequestHeader, response: &Response) -> Vec<Bytes> {
    assert_eq!(header.api_key, response.api_key(), "a request is answered by its own response");
    let mut out = Rope::new();
    out.put(&[0; 4]);
    out.put(&header.correlation_id.to_be_bytes());
    if response_header_is_tagged(header.api_key, header.api_version) {
        out.put_tagged(Vec::new());
    }
    response.encode(header.api_version, &mut out);
    finish(out).finish()
}

/// The answer to an ApiVersions request in a version that is not served: shaped as version 0,
/// which everyone reads, and naming the versions of this one api, so that the client asks again.
pub fn encode_unsupported_api_versions(correlation_id: i32) -> Vec<Bytes> {
    let mut out = Rope::new();
    out.put(&[0; 4]);
    out.put(&correlation_id.to_be_bytes());
    let response = ApiVersionsResponse {
        error_code: KafkaError::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion::supported(ApiKey::ApiVersions)],
        ..Default::default()
    };
    Message::encode(&response, 0, &mut out);
    finish(out).finish()
}

/// Writes a request frame, length word included, as a client does.
pub fn encode_request(
    request: &Request,
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Vec<Bytes> {
    let api_key = request.api_key();
    let mut out = Rope::new();
    out.put(&[0; 4]);
    out.put(&api_key.code().to_be_bytes());
    out.put(&api_version.to_be_bytes());
    out.put(&correlation_id.to_be_bytes());
    client_id.map(str::to_owned).encode(&mut out, CLIENT_ID);
    if api_key.is_flexible(api_version) {
        out.put_tagged(Vec::new());
    }
    request.encode(api_version, &mut out);
    finish(out).finish()
}

/// Reads a response frame, without its length word: the correlation id, and the body as the api
/// and version of the request with that id have it. A fallback of ApiVersions is for the caller to
/// notice, by its error code, and to read as version 0.
pub fn decode_response(
    api_key: ApiKey,
    api_version: i16,
    frame: &Bytes,
) -> Result<(i32, Response), WireError> {
    let mut from = Reader::new(frame.clone());
    let correlation_id = i32::from_be_bytes(from.take_array()?);
    if response_header_is_tagged(api_key, api_version) {
        from.skip_tagged()?;
    }
    let body = frame.slice(frame.len() - from.remaining()..);
    Ok((correlation_id, Response::decode(api_key, api_version, body)?))
}

/// ApiVersions never has tags in its header: a client must be able to read the answer before it
/// knows what the broker speaks.
fn response_header_is_tagged(api_key: ApiKey, version: i16) -> bool {
    api_key != ApiKey::ApiVersions && api_key.is_flexible(version)
}

fn finish(mut out: Rope) -> Rope {
    let length = i32::try_from(out.len() - 4).expect("frames are bounded far below 2 GiB");
    out.patch_start(length.to_be_bytes());
    out
}
