//! `dns` against dnsmasq, and against name servers that lie.

use std::time::Duration;

use monchero_core::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::daemon::{Daemon, free_port};
use crate::{TIMEOUT, run, value};

async fn dnsmasq(arguments: &[&str]) -> (Daemon, u16) {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let port_option = format!("--port={port}");
    let fixed = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--user=root",
        "--pid-file=",
        "--listen-address=127.0.0.1",
        "--local=/example.org/",
        &port_option,
    ];
    let daemon = Daemon::start("/usr/sbin/dnsmasq", &[&fixed[..], arguments].concat(), folder);
    (daemon.listens_on(port).await, port)
}

#[tokio::test]
async fn every_type_of_record_is_read_from_a_real_server() {
    let long = format!("--txt-record=long.example.org,{}", vec!["x".repeat(200); 5].join(","));
    let (_daemon, port) = dnsmasq(&[
        "--host-record=www.example.org,192.0.2.1,2001:db8::1,300",
        "--host-record=www.example.org,192.0.2.2",
        "--cname=alias.example.org,www.example.org",
        "--mx-host=example.org,mail.example.org,10",
        "--txt-record=example.org,v=spf1 -all",
        "--srv-host=_sip._tcp.example.org,sip.example.org,5060,1,2",
        "--caa-record=example.org,0,issue,ca.example.net",
        "--ptr-record=1.2.0.192.in-addr.arpa,www.example.org",
        "--dns-rr=example.org,43,3039080249fd46e6",
        "--dns-rr=example.org,48,0101030803010001",
        "--dns-rr=_443._tcp.www.example.org,52,03010149fd46e6",
        "--dns-rr=www.example.org,44,0402aabbcc",
        &long,
    ])
    .await;
    for (asked, expect, answers) in [
        ("name: www.example.org", "[192.0.2.2, 192.0.2.1]", 2.0),
        ("name: WWW.example.org.", "{ contains: 192.0.2.1 }", 2.0),
        ("name: www.example.org\ntype: AAAA", "2001:DB8::1", 1.0),
        ("name: alias.example.org", "192.0.2.*", 2.0),
        ("name: alias.example.org\ntype: CNAME", "www.example.org.", 1.0),
        ("name: example.org\ntype: mx", "10 mail.example.org", 1.0),
        ("name: example.org\ntype: TXT", "v=spf1 *", 1.0),
        ("name: _sip._tcp.example.org\ntype: SRV", "1 2 5060 sip.example.org", 1.0),
        ("name: example.org\ntype: CAA", "\"*issue*ca.example.net*\"", 1.0),
        ("name: example.org\ntype: DS", "12345 8 2 49FD46E6", 1.0),
        ("name: example.org\ntype: DNSKEY", "257 3 8 AwEAAQ==", 1.0),
        ("name: _443._tcp.www.example.org\ntype: TLSA", "3 1 1 49fd46e6", 1.0),
        ("name: www.example.org\ntype: SSHFP", "4 2 AABBCC", 1.0),
        ("name: 192.0.2.1\ntype: PTR", "www.example.org", 1.0),
        ("name: long.example.org\ntype: TXT", "x*", 1.0),
        ("name: www.example.org\ntransport: tcp", "192.0.2.*", 2.0),
        ("name: nobody.example.org", "none", 0.0),
        ("name: www.example.org\ntype: MX", "none", 0.0),
        ("name: nobody.example.org", "{ rcode: NXDOMAIN }", 0.0),
        ("name: example.com", "{ rcode: [REFUSED, SERVFAIL] }", 0.0),
    ] {
        let settings = format!("{asked}\nserver: 127.0.0.1\nport: {port}\nexpect: {expect}");
        let result = run("dns", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Okay, "{settings}: {}", result.message);
        assert_eq!(value(&result, "127.0.0.1 answers"), Some(answers), "{settings}: {}", result.message);
    }
}

#[tokio::test]
async fn what_is_not_as_expected_is_bad() {
    let (_daemon, port) = dnsmasq(&["--host-record=www.example.org,192.0.2.1,300"]).await;
    for (settings, state, said) in [
        ("name: www.example.org\nexpect: 192.0.2.9", State::Bad, "www.example.org A is 192.0.2.1, not `192.0.2.9`"),
        ("name: www.example.org\nexpect: none", State::Bad, "www.example.org A is 192.0.2.1, none is expected"),
        ("name: nobody.example.org", State::Bad, "nobody.example.org A is answered with NXDOMAIN"),
        ("name: www.example.org\ntype: AAAA", State::Bad, "www.example.org AAAA has no answer"),
        ("name: www.example.org\nexpect: { authoritative: false }", State::Bad, "is authoritative"),
        ("name: www.example.org\nwarning: { ttl: \"< 10m\" }", State::Warning, "ttl is 5m, below 10m"),
        ("name: www.example.org\nbad: { rcode: NOERROR }", State::Bad, "rcode is NOERROR"),
    ] {
        let result = run("dns", &format!("{settings}\nserver: \"127.0.0.1:{port}\""), TIMEOUT).await;
        assert_eq!(result.state, state, "{settings}: {}", result.message);
        assert!(result.message.contains(said), "{settings}: {}", result.message);
    }
}

#[tokio::test]
async fn a_server_that_is_behind_another_is_a_warning() {
    let mut daemons = Vec::new();
    for serial in ["2026010100", "2026010107"] {
        let soa = format!("--auth-soa={serial},hostmaster.example.net");
        let options = ["--auth-server=ns1.example.net,127.0.0.1", "--auth-zone=example.net,192.0.2.0/24", &soa];
        daemons.push(dnsmasq(&options).await);
    }
    let (first, second) = (daemons[0].1, daemons[1].1);
    let settings = format!("name: example.net\ntype: SOA\nserver: [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]");
    let result = run("dns", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Warning, "{}", result.message);
    let said = format!("127.0.0.1:{first} serial_behind is 7, above 0");
    assert!(result.message.starts_with(&said), "{}", result.message);
    assert_eq!(value(&result, &format!("127.0.0.1:{second} serial_behind")), Some(0.0));
}

/// A name server on UDP that sends these answers, in order, to each question. `{id}` and the question are put before them by `reply`.
async fn liar(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            for answer in answers(&question[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    port
}

/// An answer to a question: one A record.
fn reply(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut reply = question.to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[7] = 1;
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    reply.extend(address);
    reply
}

#[tokio::test]
async fn answers_to_other_questions_are_not_believed() {
    let port = liar(|question| {
        let mut other_id = reply(question, [192, 0, 2, 66]);
        other_id[0] ^= 1;
        let mut other_name = reply(question, [192, 0, 2, 66]);
        other_name[13] = b'x';
        let cut = reply(question, [192, 0, 2, 66])[..30].to_vec();
        vec![
            b"garbage".to_vec(),
            Vec::new(),
            question.to_vec(),
            other_id,
            other_name,
            cut,
            reply(question, [192, 0, 2, 1]),
        ]
    })
    .await;
    let settings = format!("name: www.example.org\nserver: \"127.0.0.1:{port}\"\nexpect: 192.0.2.1");
    let result = run("dns", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
}

#[tokio::test]
async fn nothing_but_lies_and_silence_end_with_the_deadline() {
    let lies = liar(|question| vec![question.to_vec()]).await;
    let silence = liar(|_| Vec::new()).await;
    for (port, more) in [(lies, "; 1 datagrams came that are no answer"), (silence, "")] {
        let settings = format!("name: www.example.org\nserver: \"127.0.0.1:{port}\"");
        let result = run("dns", &settings, Duration::from_secs(1)).await;
        assert_eq!(result.state, State::Bad);
        assert_eq!(&*result.message, format!("127.0.0.1:{port} has not answered within 950ms{more}"));
    }
    let flood = liar(|question| vec![question.to_vec(); 1_100]).await;
    let result = run("dns", &format!("name: a.example\nserver: \"127.0.0.1:{flood}\""), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("datagrams that are no answer to the question"), "{}", result.message);
}

#[tokio::test]
async fn a_question_that_is_lost_is_asked_again() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let port = liar(move |question| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Vec::new(),
        _ => vec![reply(question, [192, 0, 2, 1])],
    })
    .await;
    let result = run("dns", &format!("name: a.example\nserver: \"127.0.0.1:{port}\""), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(value(&result, &format!("127.0.0.1:{port} time")).is_some_and(|time| time > 1.0));
}

#[tokio::test]
async fn a_cut_answer_over_tcp_is_bad() {
    for (said, why) in [
        (&b"\xff\xff\0\0"[..], "it closed before its answer was complete"),
        (b"\0\x04abcd", "what it says is no answer"),
        (b"", "it closed before its answer was complete"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            stream.read_exact(&mut vec![0; length.into()]).await.unwrap();
            stream.write_all(said).await.unwrap();
        });
        let settings = format!("name: a.example\nserver: \"127.0.0.1:{port}\"\ntransport: tcp");
        let result = run("dns", &settings, TIMEOUT).await;
        assert_eq!(
            (result.state, &*result.message),
            (State::Bad, &*format!("asking 127.0.0.1:{port} over TCP: {why}"))
        );
    }
}
