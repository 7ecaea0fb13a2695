//! `dns`: what name servers say about a name, and how fast.

mod exchange;
mod expect;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tokio::task::JoinSet;

use self::exchange::{Transport, ask};
use self::expect::Expect;
use crate::base64::base64;
use crate::host;
use crate::net::{Deadline, Failure};
use crate::settings::{OneOrMore, excerpt};

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "From the question to the answer; a repetition over TCP is part of it."),
    Field::number("answers", "", "How many records of the type came."),
    Field::number("ttl", "s", "For how long the records may be kept: the smallest of them."),
    Field::number("serial", "", "The serial number of the zone; only with `type: SOA`."),
    Field::number(
        "serial_behind",
        "",
        "How far that is behind the newest that any of the servers has; only with `type: SOA`.",
    ),
    Field::text("rcode", "What the server says of the question: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED` .."),
    Field::text("authoritative", "Whether the server is responsible for the name: `yes` or `no`."),
];

const LIMITS: &[Limit] = &[Limit { field: "serial_behind", warning: "> 0", bad: "" }];

/// How many servers one check asks at most: the largest zones have 13.
const MAX_SERVERS: usize = 16;

/// How many answers a message shows.
const MAX_SHOWN: usize = 8;

/// What name servers say about a name: which records, how fast, and for how long they may be kept.
///
/// Each server is asked directly, all of them at once. The question goes over UDP and is repeated each second; an answer that does not fit in a
/// datagram is fetched over TCP. A server that does not answer, that answers with an error, has no such record, or says otherwise
/// than expected is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    /// The name that is asked for, in full: `www.example.org`. For `type: PTR` an address will do.
    name: String,
    /// The type of the records: `A`, `AAAA`, `CNAME`, `MX`, `NS`, `TXT`, `SOA`, `SRV`, `PTR`, `CAA`, `DS`, `DNSKEY`, `TLSA`, `SSHFP`, `HTTPS`,
    /// `SVCB` or `NAPTR`. Default: `A`.
    #[serde(default, rename = "type")]
    record: Record,
    /// The address of the server, with or without a port (`192.0.2.53`, `[2001:db8::53]:5353`), or a list of up to 16.
    /// Default: the ones that `/etc/resolv.conf` names.
    server: Option<OneOrMore<Server>>,
    /// The port of servers that are named without one. Default: `53`.
    #[serde(default = "domain")]
    port: u16,
    /// How the servers are asked: `udp`, or `tcp` from the start. Default: `udp`.
    #[serde(default)]
    transport: Transport,
    /// What the answer must be: `none` (there must be no such record), a value or a list of values that must be all there is, or a map
    /// of `answers`, `contains`, `any`, `rcode` and `authoritative`. Default: at least one record.
    #[serde(default)]
    expect: Expect,
    /// When it is a warning. A single range is about `time`; a map has conditions for `time`, `ttl` (seconds), `answers`, `serial`,
    /// `serial_behind`, `rcode` and `authoritative`. Without a word about it, it is a warning when a server is behind another
    /// (`serial_behind` above 0).
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is.
    #[serde(default)]
    bad: Thresholds,
    /// The question: made by `validate`.
    #[serde(skip)]
    question: Query,
}

fn domain() -> u16 {
    53
}

/// A type of records that can be asked for.
#[derive(Debug, Clone, Copy)]
struct Record(RecordType);

const RECORDS: [RecordType; 17] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::MX,
    RecordType::NS,
    RecordType::TXT,
    RecordType::SOA,
    RecordType::SRV,
    RecordType::PTR,
    RecordType::CAA,
    RecordType::DS,
    RecordType::DNSKEY,
    RecordType::TLSA,
    RecordType::SSHFP,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::NAPTR,
];

impl Default for Record {
    fn default() -> Self {
        Self(RecordType::A)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = RECORDS.into_iter().find(|record| record.to_string().eq_ignore_ascii_case(text.trim()));
        known.map(Self).ok_or_else(|| {
            let names = RECORDS.map(|record| record.to_string());
            serde::de::Error::custom(format!("`{text}` is not one of the types {}", names.join(", ")))
        })
    }
}

impl JsonSchema for Record {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Record".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": RECORDS.map(|record| record.to_string()), "description": "A type of DNS records." })
    }
}

/// The address of a name server, with a port if it is not the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
struct Server {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let both = text.parse::<SocketAddr>().ok().filter(|both| both.port() > 0);
        let both = both.ok_or_else(|| {
            format!(
                "`{text}` is no address: name the server as in `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:5353`"
            )
        })?;
        Ok(Self { address: both.ip(), port: Some(both.port()) })
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl CheckKind for Dns {
    const NAME: &'static str = "dns";
    const LOOKS: Looks = Looks::Out("server");
    const EXAMPLE: &'static str = "{ name: www.example.org, type: A, server: [192.0.2.53, 198.51.100.53], expect: 192.0.2.80, warning: \"> 200ms\" }";
    const SHORT_FOR: Option<&'static str> = Some("name");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let name = match self.name.parse::<IpAddr>() {
            Ok(address) if self.record.0 == RecordType::PTR => Ok(Name::from(address)),
            Ok(_) => return Err(Invalid::at("name", format!("`{}` is an address: ask for `type: PTR`", self.name))),
            Err(_) => Name::from_utf8(&self.name),
        };
        let mut name = name.map_err(|why| ("name", format!("`{}` is no name in the DNS: {why}", self.name)))?;
        name.set_fqdn(true);
        self.question = Query::query(name, self.record.0);
        if self.port == 0 {
            return Err(Invalid::at("port", "a port is a number from 1 to 65535".to_owned()));
        }
        if let Some(OneOrMore(servers)) = &self.server {
            if servers.is_empty() || servers.len() > MAX_SERVERS {
                let count = servers.len();
                return Err(Invalid::at("server", format!("a check asks 1 to {MAX_SERVERS} servers, not {count}")));
            }
            if let Some(twice) =
                (1..servers.len()).find(|index| servers.iter().take(*index).any(|s| *s == servers[*index]))
            {
                return Err(Invalid::at("server", format!("`{}` stands here twice", servers[twice])));
            }
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let servers = match &self.server {
            Some(OneOrMore(servers)) => servers.clone(),
            None => resolvers(&host::read(context.sysroot, RESOLV_CONF)?)?,
        };
        let deadline = Deadline::of(context);
        let mut asked = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let address = SocketAddr::new(server.address, server.port.unwrap_or(self.port));
            let (question, transport) = (self.question.clone(), self.transport);
            asked.spawn(async move { (index, ask(address, &question, transport, deadline).await) });
        }
        let mut answers = asked.join_all().await;
        order::sort_by_key(&mut answers, |(index, _)| *index);
        let looks: Vec<_> =
            answers.into_iter().map(|(_, answer)| answer.map(|(message, time)| self.look(&message, time))).collect();
        let newest = newest(looks.iter().flatten().filter_map(|look| look.serial));
        let mut report = context.report();
        for (server, look) in servers.iter().zip(&looks) {
            self.judge(&mut report, &server.to_string(), look, newest);
        }
        Ok(report)
    }
}

/// What a server answered.
#[derive(Debug)]
struct Look {
    time: Duration,
    rcode: String,
    authoritative: bool,
    /// The records of the type that was asked for, as texts.
    answers: Vec<String>,
    ttl: Option<u32>,
    serial: Option<u32>,
}

impl Dns {
    fn look(&self, message: &Message, time: Duration) -> Look {
        let records: Vec<_> = message.answers.iter().filter(|record| record.record_type() == self.record.0).collect();
        Look {
            time,
            rcode: rcode(message.metadata.response_code),
            authoritative: message.metadata.authoritative,
            answers: records.iter().map(|record| text(&record.data)).collect(),
            ttl: records.iter().map(|record| record.ttl).min(),
            serial: records.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.serial),
                _ => None,
            }),
        }
    }

    fn judge(&self, report: &mut Report, server: &str, look: &Result<Look, Failure>, newest: Option<u32>) {
        let look = match look {
            Ok(look) => look,
            Err(Failure::Bad(why)) => return report.find(State::Bad, why.clone()),
            Err(Failure::Unable(why)) => return report.find(State::Unknown, why.clone()),
        };
        let asked = format!("{} {}", self.name, self.record.0);
        for why in self.expect.judge(&asked, look) {
            report.find(State::Bad, format!("{server}: {why}"));
        }
        let time = look.time.as_secs_f64();
        let mut values: Vec<(&str, Value<'_>)> =
            vec![("time", time.into()), ("answers", (look.answers.len() as f64).into())];
        if let Some(ttl) = look.ttl {
            values.push(("ttl", f64::from(ttl).into()));
        }
        if let (Some(serial), Some(newest)) = (look.serial, newest) {
            values.push(("serial", f64::from(serial).into()));
            values.push(("serial_behind", f64::from(newest.wrapping_sub(serial)).into()));
        }
        values.push(("rcode", look.rcode.as_str().into()));
        values.push(("authoritative", if look.authoritative { "yes" } else { "no" }.into()));
        Judge::new(FIELDS, &self.warning, &self.bad)
            .item(report, server, &values, || format!("{asked} is {} in {}", shown(look), human(time, &Unit::SECONDS)));
    }
}

/// What a server answered, for a person.
fn shown(look: &Look) -> String {
    if look.answers.is_empty() {
        return if look.rcode == "NOERROR" { "nothing".to_owned() } else { look.rcode.clone() };
    }
    let mut texts: Vec<String> = look.answers.iter().take(MAX_SHOWN).map(|answer| excerpt(answer)).collect();
    if look.answers.len() > MAX_SHOWN {
        texts.push(format!("and {} more", look.answers.len() - MAX_SHOWN));
    }
    texts.join(", ")
}

/// A record as a person writes it: without the dots at the ends of names, in small letters unless they are part of a text.
fn text(data: &RData) -> String {
    match data {
        RData::TXT(texts) => {
            let parts: Vec<_> = texts.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect();
            parts.concat()
        }
        RData::Unknown { code, rdata } => of_bytes(*code, &rdata.anything).unwrap_or_else(|| data.to_string()),
        RData::CAA(_) | RData::NAPTR(_) | RData::HTTPS(_) | RData::SVCB(_) => data.to_string(),
        _ => {
            let text = data.to_string();
            let words: Vec<&str> = text.split(' ').map(|word| word.strip_suffix('.').unwrap_or(word)).collect();
            words.join(" ").to_lowercase()
        }
    }
}

/// Records that the library hands over as bytes (RFC 4034): numbers, then a digest in hexadecimal digits or a key in base 64.
fn of_bytes(kind: RecordType, bytes: &[u8]) -> Option<String> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk::<4>()?;
    let number = u16::from_be_bytes([*a, *b]);
    match kind {
        RecordType::DS => {
            let digest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("{number} {c} {d} {digest}"))
        }
        RecordType::DNSKEY => Some(format!("{number} {c} {d} {}", base64(rest))),
        _ => None,
    }
}

/// The code of an answer by the name that every other tool gives it (RFC 1035, section 4.1.1).
fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

/// The newest of some serial numbers, which begin anew behind the largest (RFC 1982).
fn newest(serials: impl Iterator<Item = u32>) -> Option<u32> {
    serials.reduce(|newest, other| if other.wrapping_sub(newest) < 1 << 31 { other } else { newest })
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The servers that `/etc/resolv.conf` names (`resolv.conf(5)`). One with a zone (`fe80::1%eth0`) is left out.
fn resolvers(text: &str) -> Result<Vec<Server>, CheckError> {
    let words = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut found: Vec<Server> = words
        .filter(|words| words.first() == Some(&"nameserver"))
        .filter_map(|words| Some(Server { address: words.get(1)?.parse().ok()?, port: None }))
        .take(MAX_SERVERS)
        .collect();
    found.dedup();
    if found.is_empty() {
        return Err(host::malformed(RESOLV_CONF, "it names no server: set `server`"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_serial_is_found_across_the_wrap() {
        assert_eq!(newest([5, 7, 6].into_iter()), Some(7));
        assert_eq!(newest([u32::MAX - 1, 3, u32::MAX].into_iter()), Some(3));
        assert_eq!(newest(std::iter::empty()), None);
    }

    #[test]
    fn servers_of_resolv_conf() {
        let text = "# nameserver 1.1.1.1\nsearch example.org\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0\nnameserver ::1 \n";
        let found: Vec<String> = resolvers(text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "::1"]);
        assert!(
            resolvers("search example.org\n").unwrap_err().to_string().ends_with("it names no server: set `server`")
        );
    }

    #[test]
    fn servers_are_addresses() {
        for good in ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"] {
            assert_eq!(good.parse::<Server>().unwrap().to_string(), good);
        }
        for wrong in ["", "dns.example", "192.0.2.1:0", "192.0.2.1:99999"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_resolv_conf_gives_an_answer(text in "(nameserver|[ .:0-9a-f%\n]){0,60}") {
            let _ = resolvers(&text);
        }
    }
}
