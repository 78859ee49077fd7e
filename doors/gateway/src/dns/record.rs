//! The text of a TXT record that names gateways.

use std::net::Ipv6Addr;

use mainstem_types::limits::{DNS_GATEWAY_LENGTH_MAX, GATEWAYS_PER_CLUSTER_MAX};

/// The longest string that a TXT record can have.
const STRING_LENGTH_MAX: usize = 255;
/// Words that are not gateways are shown so far, in number and in length.
const SHOWN_MAX: usize = 8;
const SHOWN_LENGTH_MAX: usize = 40;

/// What was found in records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) gateways: Vec<String>,
    /// What is not a gateway, fit for a log.
    pub(super) left_out: Vec<String>,
}

/// The gateways of all records of one name, each once, in the order in which a record has them.
///
/// Name servers give several records in any order, and a list must not look new each time: records
/// are put in order first. Blanks part words, and so do strings of one record, unless a string is
/// as long as a string can be: then whoever wrote the zone has cut a list where it had to be.
pub(super) fn parse(mut records: Vec<Vec<Vec<u8>>>) -> Parsed {
    records.sort_unstable();
    let mut parsed = Parsed::default();
    for strings in records {
        let mut text = Vec::new();
        for string in strings {
            text.extend_from_slice(&string);
            if string.len() < STRING_LENGTH_MAX {
                text.push(b' ');
            }
        }
        for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            parsed.push(word);
        }
    }
    parsed
}

impl Parsed {
    fn push(&mut self, word: &[u8]) {
        let gateway = std::str::from_utf8(word).ok().filter(|word| is_gateway(word));
        match gateway {
            Some(gateway) if self.gateways.iter().any(|known| known == gateway) => {}
            Some(gateway) if self.gateways.len() < GATEWAYS_PER_CLUSTER_MAX => {
                self.gateways.push(gateway.to_owned());
            }
            _ if self.left_out.len() < SHOWN_MAX => {
                let shown = &word[..word.len().min(SHOWN_LENGTH_MAX)];
                self.left_out.push(shown.escape_ascii().to_string());
            }
            _ => {}
        }
    }
}

/// Whether a word is a host or an address, with a port or without.
fn is_gateway(word: &str) -> bool {
    if word.len() > DNS_GATEWAY_LENGTH_MAX {
        return false;
    }
    if let Some(rest) = word.strip_prefix('[') {
        let parts = rest.split_once(']');
        return parts.is_some_and(|(address, port)| {
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            is_port && address.parse::<Ipv6Addr>().is_ok()
        });
    }
    match word.split_once(':') {
        None => is_host(word),
        Some((host, port)) => (is_host(host) && is_port(port)) || word.parse::<Ipv6Addr>().is_ok(),
    }
}

fn is_host(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && word.chars().all(legal)
}

fn is_port(word: &str) -> bool {
    // `u16` would take a sign.
    word.bytes().all(|c| c.is_ascii_digit()) && word.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(strings: &[&str]) -> Parsed {
        parse(vec![strings.iter().map(|string| string.as_bytes().to_vec()).collect()])
    }

    #[test]
    fn blanks_and_strings_part_gateways() {
        for strings in [
            &["gw1:7660 10.0.0.2"][..],
            &["  gw1:7660 \t 10.0.0.2\r\n"],
            &["gw1:7660", "10.0.0.2"],
            &["gw1:7660 ", "", "10.0.0.2 gw1:7660"],
        ] {
            let parsed = parse_one(strings);
            assert_eq!(parsed.gateways, ["gw1:7660", "10.0.0.2"], "{strings:?}");
            assert!(parsed.left_out.is_empty());
        }
        assert_eq!(parse(Vec::new()), Parsed::default());
        assert_eq!(parse_one(&[""]), Parsed::default());
    }

    #[test]
    fn a_list_that_was_cut_where_a_string_ends_is_put_together() {
        let list: Vec<String> = (0..30).map(|n| format!("gateway{n:02}.example:7660")).collect();
        let text = list.join(" ");
        assert_ne!(text.as_bytes()[254], b' ', "the cut is within a word");
        let strings: Vec<Vec<u8>> = text.as_bytes().chunks(255).map(<[u8]>::to_vec).collect();
        assert!(strings.len() > 2);
        assert_eq!(parse(vec![strings]), Parsed { gateways: list, left_out: Vec::new() });
    }

    #[test]
    fn several_records_are_one_list_in_whatever_order_they_come() {
        let record = |text: &str| vec![text.as_bytes().to_vec()];
        let parsed = parse(vec![record("b:1 a:1"), record("c:1 a:1")]);
        assert_eq!(parsed.gateways, ["b:1", "a:1", "c:1"]);
        assert_eq!(parse(vec![record("c:1 a:1"), record("b:1 a:1")]), parsed);
    }

    #[test]
    fn what_is_no_gateway_is_left_out_and_told() {
        let words = [
            "v=spf1",
            "include:mail",
            "-all",
            "gw:0",
            "gw:65536",
            "gw:",
            ":7660",
            "gw:+1",
            "a:1:2",
            "[::1",
            "[gw]:1",
            "[::1]7660",
            "gw/1",
            "gw,gw2",
        ];
        for word in words {
            let parsed = parse_one(&["gw1", word, "gw2:7661"]);
            assert_eq!(parsed.gateways, ["gw1", "gw2:7661"], "{word}");
            assert_eq!(parsed.left_out, [word]);
        }
        for word in ["::1", "[::1]", "[fe80::1]:7660", "my_gw.example.org.:1", "GW-1"] {
            assert_eq!(parse_one(&[word]).gateways, [word]);
        }
        let odd = parse(vec![vec![b"\xff\xfe\x07".to_vec(), b"gw1".to_vec()]]);
        assert_eq!(
            (odd.gateways, odd.left_out),
            (vec!["gw1".into()], vec![r"\xff\xfe\x07".into()])
        );
    }

    #[test]
    fn a_record_of_any_size_gives_a_list_of_bounded_size() {
        let words: Vec<String> = (0..5_000).map(|n| format!("gw{n}:7660 ?{n}")).collect();
        let parsed = parse(words.iter().map(|word| vec![word.clone().into_bytes()]).collect());
        assert_eq!(parsed.gateways.len(), GATEWAYS_PER_CLUSTER_MAX);
        assert_eq!(parsed.left_out.len(), SHOWN_MAX);
        let long = format!("{}:7660", "a".repeat(DNS_GATEWAY_LENGTH_MAX));
        let parsed = parse_one(&[&long]);
        assert!(parsed.gateways.is_empty());
        assert_eq!(parsed.left_out, ["a".repeat(SHOWN_LENGTH_MAX)]);
    }
}
