//! A name server of the test's own: TXT records over UDP, and nothing else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What it says of a name.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// TXT records, each of several strings, with a time to live in seconds.
    Txt(Vec<Vec<String>>, u32),
    /// That it cannot tell.
    Failure,
    /// Nothing at all.
    Silence,
}

type Zone = Arc<Mutex<HashMap<String, Say>>>;

/// Names it was not told of do not exist.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Zone,
    /// All names that it was asked for, in lower case.
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, asked) = (Zone::default(), Arc::<Mutex<Vec<String>>>::default());
        let task = tokio::spawn(serve(socket, zone.clone(), asked.clone()));
        Self { address, zone, asked, task }
    }

    /// The record of a cluster's gateways, as it is to be from now on.
    pub(crate) fn publish(&self, cluster: &str, gateways: &[String]) {
        self.say(cluster, Say::Txt(vec![vec![gateways.join(" ")]], 3_600));
    }

    pub(crate) fn say(&self, cluster: &str, say: Say) {
        self.zone.lock().unwrap().insert(format!("gateway.{cluster}"), say);
    }

    /// How often a cluster's name was asked for.
    pub(crate) fn asked_for(&self, cluster: &str) -> usize {
        let name = format!("gateway.{cluster}");
        self.asked.lock().unwrap().iter().filter(|asked| **asked == name).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Zone, asked: Arc<Mutex<Vec<String>>>) {
    let mut packet = [0; 1_500];
    loop {
        let (length, from) = socket.recv_from(&mut packet).await.unwrap();
        let (name, question) = question(&packet[..length]);
        let say = zone.lock().unwrap().get(&name).cloned();
        asked.lock().unwrap().push(name);
        if let Some(response) = response(&packet, question, say) {
            socket.send_to(&response, from).await.unwrap();
        }
    }
}

/// The name that is asked for, and the bytes of the question.
fn question(packet: &[u8]) -> (String, &[u8]) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] > 0 {
        let label = &packet[at + 1..=at + usize::from(packet[at])];
        labels.push(String::from_utf8(label.to_ascii_lowercase()).unwrap());
        at += 1 + label.len();
    }
    assert_eq!(packet[at + 1..at + 3], [0, 16], "TXT is asked for");
    (labels.join("."), &packet[12..at + 5])
}

fn response(packet: &[u8], question: &[u8], say: Option<Say>) -> Option<Vec<u8>> {
    const SERVER_FAILURE: u8 = 2;
    const NO_SUCH_NAME: u8 = 3;
    let (code, records, ttl_s) = match say {
        Some(Say::Txt(records, ttl_s)) => (0, records, ttl_s),
        Some(Say::Failure) => (SERVER_FAILURE, Vec::new(), 0),
        Some(Say::Silence) => return None,
        None => (NO_SUCH_NAME, Vec::new(), 0),
    };
    let count = u8::try_from(records.len()).unwrap();
    // A response, recursion desired and available; one question and the answers.
    let mut response = vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    response.extend_from_slice(question);
    for strings in records {
        let length: usize = strings.iter().map(|string| 1 + string.len()).sum();
        // The name of the question, TXT, internet.
        response.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1]);
        response.extend_from_slice(&ttl_s.to_be_bytes());
        response.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        for string in strings {
            response.push(u8::try_from(string.len()).unwrap());
            response.extend_from_slice(string.as_bytes());
        }
    }
    Some(response)
}
