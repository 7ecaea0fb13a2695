//! `snmp` against agents that say what they should not.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use monchero_core::State;
use monchero_core::report::ServiceResult;
use snmp2::Pdu;
use tokio::net::UdpSocket;

use crate::peer::Remembering;

/// Numbers that look random and are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// Changes, removes and adds some bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ if !bytes.is_empty() => bytes[at] = self.byte(),
                _ => {}
            }
        }
    }
}

/// A tag, the length of what it holds, and that.
fn tlv(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..128 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(0x83);
            bytes.extend(&u32::try_from(long).unwrap().to_be_bytes()[1..]);
        }
    }
    [bytes, content].concat()
}

fn integer(number: i32) -> Vec<u8> {
    tlv(2, &[number.to_be_bytes().to_vec()])
}

/// An object whose name ends in these parts below 1.3.6.1.4.1, and its value.
fn object(parts: &[u8], value: Vec<u8>) -> Vec<u8> {
    tlv(0x30, &[tlv(6, &[vec![0x2b, 6, 1, 4, 1], parts.to_vec()]), value])
}

/// An answer to the request of this number.
fn answer(id: i32, error: i32, objects: &[Vec<u8>]) -> Vec<u8> {
    let pdu = tlv(0xa2, &[integer(id), integer(error), integer(0), tlv(0x30, objects)]);
    tlv(0x30, &[integer(1), tlv(4, &[b"public".to_vec()]), pdu])
}

fn id_of(request: &[u8]) -> i32 {
    Pdu::from_bytes(request).unwrap().req_id
}

/// An agent that answers each request, by its number in the order of time, with these datagrams.
async fn agent<F, R>(mut say: F) -> u16
where
    F: FnMut(usize, Vec<u8>, SocketAddr) -> R + Send + 'static,
    R: Future<Output = Vec<Vec<u8>>> + Send,
{
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut request = vec![0; 2048];
        for number in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut request).await else { continue };
            for datagram in say(number, request[..length].to_vec(), from).await {
                // Whoever asked may be gone.
                let _ = socket.send_to(&datagram, from).await;
            }
        }
    });
    port
}

async fn run(port: u16, settings: &str) -> ServiceResult {
    let settings = format!("address: 127.0.0.1:{port}\n{settings}");
    let mut check = Remembering::new("snmp", &settings);
    check.timeout = Duration::from_secs(4);
    let start = Instant::now();
    let (_, result) = check.run().await;
    assert!(start.elapsed() < Duration::from_millis(4_500), "{:?}: {result:?}", start.elapsed());
    result
}

const WALK: &str = "walk: 1.3.6.1.4.1.9\nrequest_timeout: 300ms\nretries: 1\n";

async fn unknown(port: u16, settings: &str, reason: &str) {
    let result = run(port, settings).await;
    assert_eq!(result.state, State::Unknown, "{reason}: {result:?}");
    assert!(result.message.contains(reason), "{reason}: {result:?}");
}

/// What every run asks first: the time of the agent.
fn uptime(request: &[u8]) -> Option<Vec<u8>> {
    let pdu = Pdu::from_bytes(request).unwrap();
    let is_get = pdu.message_type == snmp2::MessageType::GetRequest;
    let name = tlv(6, &[vec![0x2b, 6, 1, 2, 1, 1, 3, 0]]);
    let uptime = tlv(0x30, &[name, tlv(0x43, &[vec![1, 0]])]);
    is_get.then(|| answer(pdu.req_id, 0, &[uptime]))
}

/// An agent whose answers to a walk are these.
async fn walked(mut objects: impl FnMut(usize) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    agent(move |number, request, _| {
        let reply = uptime(&request).unwrap_or_else(|| answer(id_of(&request), 0, &objects(number)));
        async move { vec![reply] }
    })
    .await
}

#[tokio::test]
async fn walks_end() {
    let count = |number: usize| u8::try_from(number % 128).unwrap();
    let endless = move |number: usize| -> Vec<Vec<u8>> {
        (0..25_u8).map(|i| object(&[9, 0x81, count(number), i], integer(1))).collect()
    };
    // It goes round when the count of requests does.
    unknown(walked(endless).await, WALK, "that would never end").await;
    let long = move |number: usize| -> Vec<Vec<u8>> {
        let (high, low) = (0x80 | count(number / 128), 0x80 | count(number));
        (0..100_u8).map(|i| object(&[9, 0x81, high, low, i], integer(1))).collect()
    };
    unknown(walked(long).await, WALK, "more than 10000 objects").await;
    unknown(walked(|_| vec![object(&[9, 1], integer(1))]).await, WALK, "that would never end").await;
    let backwards = |_| vec![object(&[9, 2], integer(1)), object(&[9, 1], integer(1))];
    unknown(walked(backwards).await, WALK, "names 1.3.6.1.4.1.9.1 behind 1.3.6.1.4.1.9.2").await;
    unknown(walked(|_| Vec::new()).await, WALK, "says nothing of what follows").await;
    unknown(walked(|_| vec![object(&[10, 1], integer(1))]).await, WALK, "the agent has no such objects").await;
    unknown(walked(|_| vec![object(&[9, 0x81], integer(1))]).await, WALK, "says nothing of what follows").await;
    // A name of 200 parts.
    unknown(walked(|_| vec![object(&[9; 200], integer(1))]).await, WALK, "says nothing of what follows").await;
}

const GET: &str = "get: { a: 1.3.6.1.4.1.9.1 }\nrequest_timeout: 300ms\nretries: 1\n";

/// The answer to [`GET`].
fn right(request: &[u8]) -> Vec<u8> {
    let pdu = Pdu::from_bytes(request).unwrap();
    let objects: Vec<Vec<u8>> = pdu
        .varbinds
        .map(|(name, _)| tlv(0x30, &[tlv(6, &[name.as_bytes().to_vec()]), tlv(0x43, &[vec![5]])]))
        .collect();
    answer(pdu.req_id, 0, &objects)
}

#[tokio::test]
async fn answers_to_something_else() {
    let wrong_id = agent(|_, request, _| async move { vec![answer(id_of(&request) ^ 1, 0, &[])] }).await;
    unknown(wrong_id, GET, "Request ID mismatch").await;
    let community = agent(|_, request, _| async move {
        vec![String::from_utf8_lossy(&right(&request)).replace("public", "secret").into_bytes()]
    })
    .await;
    unknown(community, GET, "does not answer as an SNMP agent does").await;
    let fewer = agent(|_, request, _| async move { vec![answer(id_of(&request), 0, &[])] }).await;
    unknown(fewer, GET, "it says 0 of 2 values").await;
    let other = agent(|_, request, _| async move {
        let objects = [object(&[7], integer(1)), object(&[8], integer(1))];
        vec![answer(id_of(&request), 0, &objects)]
    })
    .await;
    unknown(other, GET, "speaks of 1.3.6.1.4.1.7, which was not asked for").await;
    let large = agent(|_, request, _| async move {
        let objects: Vec<Vec<u8>> = (0..3_000).map(|_| object(&[7], tlv(4, &[vec![b'x'; 4]]))).collect();
        vec![answer(id_of(&request), 0, &objects)]
    })
    .await;
    unknown(large, GET, "which was not asked for").await;
    let error = agent(|_, request, _| async move { vec![answer(id_of(&request), 16, &[])] }).await;
    unknown(error, GET, "answers with the error authorizationError").await;
    let too_big = agent(|_, request, _| async move { vec![answer(id_of(&request), 1, &[])] }).await;
    unknown(too_big, GET, "answers with the error tooBig").await;
    let text = agent(|_, _, _| async { vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()] }).await;
    unknown(text, GET, "does not answer as an SNMP agent does").await;
    let empty = agent(|_, _, _| async { vec![Vec::new()] }).await;
    unknown(empty, GET, "does not answer as an SNMP agent does").await;
}

#[tokio::test]
async fn only_the_agent_itself_is_heard_and_what_is_late_is_not() {
    let elsewhere = agent(|_, request, from| async move {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.send_to(&right(&request), from).await.unwrap();
        Vec::new()
    })
    .await;
    unknown(elsewhere, GET, "does not answer within 600ms (2 tries)").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let late = tokio::spawn(async move {
        let (mut first, mut second) = (vec![0; 2048], vec![0; 2048]);
        let (length, from) = socket.recv_from(&mut first).await.unwrap();
        let (again, next) = socket.recv_from(&mut second).await.unwrap();
        socket.send_to(&right(&first[..length]), from).await.unwrap();
        socket.send_to(&right(&second[..again]), next).await.unwrap();
        assert_ne!(from, next, "a late answer must not be taken for the next one");
    });
    let result = run(port, GET).await;
    assert_eq!(result.state, State::Okay, "{result:?}");
    late.await.unwrap();
    // A user of version 3 takes no answer that carries no signature, whoever it claims to be for.
    let downgrade = agent(|_, _, _| async { vec![answer(0x37f0, 0, &[])] }).await;
    let v3 = format!("v3: {{ user: public, auth: sha, auth_password: password-a }}\n{GET}");
    unknown(downgrade, &v3, "does not say who it is").await;
}

#[tokio::test]
async fn mutated_answers_never_panic_and_end_in_time() {
    let start = Instant::now();
    let settings = "get: { a: 1.3.6.1.4.1.9.1 }\nrequest_timeout: 30ms\nretries: 0\n";
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let port = agent(move |_, request, _| {
        let mut reply = right(&request);
        random.mutate(&mut reply);
        async move { vec![reply] }
    })
    .await;
    let mut check = Remembering::new("snmp", &format!("address: 127.0.0.1:{port}\n{settings}"));
    let mut okay = 0;
    for _ in 0..3_000 {
        okay += u32::from(check.run().await.1.state == State::Okay);
    }
    assert!(okay > 10, "some mutations leave the answer whole: {okay}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// An agent's word about who it is.
fn report() -> Vec<u8> {
    let header = tlv(0x30, &[integer(0x4a69), integer(65_507), tlv(4, &[vec![0]]), integer(3)]);
    let engine = tlv(4, &[vec![0x80, 0, 0x1f, 0x88, 4, 1, 2, 3, 4]]);
    let empty = || tlv(4, &[]);
    let usm = tlv(0x30, &[engine.clone(), integer(1), integer(100), empty(), empty(), empty()]);
    let pdu = tlv(0xa8, &[integer(0x37f0), integer(0), integer(0), tlv(0x30, &[])]);
    tlv(0x30, &[integer(3), header, tlv(4, &[usm]), tlv(0x30, &[engine, empty(), pdu])])
}

#[tokio::test]
async fn mutated_engines_never_panic_and_end_in_time() {
    for (auth, rounds) in [("", 1_000_u64), (", auth: md5, auth_password: password-a", 100)] {
        let mut random = Random(0xd1b5_4a32_d192_ed03);
        let port = agent(move |_, _, _| {
            let mut reply = report();
            random.mutate(&mut reply);
            async move { vec![reply] }
        })
        .await;
        let settings =
            format!("v3: {{ user: u{auth} }}\nget: {{ a: 1.3.6.1.4.1.9.1 }}\nrequest_timeout: 20ms\nretries: 0\n");
        for round in 0..rounds {
            let settings = format!("address: 127.0.0.1:{port}\n{settings}");
            let (_, result) = Remembering::new("snmp", &settings).run().await;
            assert!(matches!(result.state, State::Unknown | State::Bad), "round {round}: {result:?}");
        }
    }
}
