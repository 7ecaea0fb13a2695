//! Asking an agent: requests, their repetition, and walks that end. The library is not named outside this file and `usm`.

use std::net::SocketAddr;
use std::time::Duration;

use monchero_core::{Secret, duration};
use snmp2::{AsyncSession, Error, Oid, Pdu, Value, Version, v3};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::object::{Datum, ObjectId};
use super::usm::{Keys, User};
use crate::net::{Deadline, Peer};

/// How many objects one request asks for: what fits into a datagram that is not taken to pieces on its way.
const MAX_GET: usize = 24;
/// How many objects an agent is asked for at once when a tree is walked.
const REPETITIONS: u32 = 25;
/// The most objects of one run (R71): 600 interfaces with 16 columns.
const MAX_OBJECTS: usize = 10_000;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing came.
    Silent,
    /// The agent knows who asks, and refuses.
    Refused(String),
    /// What came is no answer.
    Odd(String),
    /// There is no way to the agent.
    Lost(String),
}

/// By what right it is asked.
#[derive(Debug)]
pub(super) enum Access<'a> {
    Community(Version, &'a Secret),
    User(&'a User, &'a Keys),
}

/// An agent, as one run sees it.
pub(super) struct Agent<'a> {
    pub(super) peer: &'a Peer,
    pub(super) address: SocketAddr,
    pub(super) access: Access<'a>,
    pub(super) deadline: Deadline,
    /// How long one request is waited for.
    pub(super) patience: Duration,
    /// How often one is repeated.
    pub(super) retries: u8,
    /// The present conversation; a new one begins whenever something came late or wrong.
    pub(super) session: Option<AsyncSession>,
    /// How many objects came in this run.
    pub(super) objects: usize,
}

/// What came.
struct Reply {
    /// The agent's error, by number, and which object it is about, from 1.
    status: u32,
    index: usize,
    objects: Vec<(ObjectId, Datum)>,
    is_end: bool,
}

enum Request<'a> {
    Get(&'a [Oid<'static>]),
    Next(&'a Oid<'static>),
    Bulk(&'a Oid<'static>, u32),
}

/// A socket that hears this address only.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

impl Agent<'_> {
    fn version(&self) -> Version {
        match self.access {
            Access::Community(version, _) => version,
            Access::User(..) => Version::V3,
        }
    }

    /// The values of single objects, in their order.
    pub(super) async fn get(&mut self, ids: &[ObjectId]) -> Result<Vec<Datum>, Trouble> {
        let mut values = vec![Datum::Absent; ids.len()];
        let mut wanted: Vec<usize> = (0..ids.len()).collect();
        let mut most = MAX_GET;
        while !wanted.is_empty() {
            let chunk: Vec<usize> = wanted.iter().copied().take(most).collect();
            let oids: Vec<Oid<'static>> = chunk.iter().filter_map(|i| ids.get(*i)).map(ObjectId::encoded).collect();
            let reply = self.exchange(&Request::Get(&oids)).await?;
            match reply.status {
                0 => {}
                TOO_BIG if most > 1 => {
                    most = (chunk.len() / 2).max(1);
                    continue;
                }
                // In SNMPv1 one object that is not there spoils the whole request.
                NO_SUCH_NAME | GEN_ERR | NO_ACCESS if (1..=chunk.len()).contains(&reply.index) => {
                    wanted.remove(reply.index - 1);
                    continue;
                }
                status => return Err(Trouble::Refused(error_name(status))),
            }
            if reply.objects.len() < chunk.len() {
                return Err(Trouble::Odd(format!("it says {} of {} values", reply.objects.len(), chunk.len())));
            }
            for (name, value) in reply.objects {
                // One object may be asked for under two names.
                let mut is_wanted = false;
                for place in chunk.iter().filter(|place| ids.get(**place) == Some(&name)) {
                    is_wanted = true;
                    if let Some(slot) = values.get_mut(*place) {
                        slot.clone_from(&value);
                    }
                }
                if !is_wanted {
                    return Err(Trouble::Odd(format!("it speaks of {name}, which was not asked for")));
                }
            }
            wanted.drain(..chunk.len());
        }
        Ok(values)
    }

    /// All objects below a root: what stands behind it in their names, and their values.
    pub(super) async fn walk(&mut self, root: &ObjectId) -> Result<Vec<(Vec<u32>, Datum)>, Trouble> {
        let mut found = Vec::new();
        let mut last = root.clone();
        let mut repetitions = REPETITIONS;
        loop {
            let oid = last.encoded();
            let reply = match self.version() {
                Version::V1 => self.exchange(&Request::Next(&oid)).await?,
                _ => self.exchange(&Request::Bulk(&oid, repetitions)).await?,
            };
            match reply.status {
                0 => {}
                NO_SUCH_NAME => return Ok(found),
                TOO_BIG if repetitions > 1 => {
                    repetitions /= 2;
                    continue;
                }
                status => return Err(Trouble::Refused(error_name(status))),
            }
            if reply.objects.is_empty() && !reply.is_end {
                return Err(Trouble::Odd(format!("it says nothing of what follows {last}")));
            }
            for (name, value) in reply.objects {
                if name <= last {
                    return Err(Trouble::Odd(format!("it names {name} behind {last}: that would never end")));
                }
                let Some(rest) = name.below(root) else { return Ok(found) };
                self.objects += 1;
                if self.objects > MAX_OBJECTS {
                    return Err(Trouble::Odd(format!("it has more than {MAX_OBJECTS} objects")));
                }
                found.push((rest.to_vec(), value));
                last = name;
            }
            if reply.is_end {
                return Ok(found);
            }
        }
    }

    /// Sends a request until an answer comes.
    async fn exchange(&mut self, request: &Request<'_>) -> Result<Reply, Trouble> {
        let mut trouble = Trouble::Silent;
        let mut attempts = 0;
        let (mut was_in_step, mut was_renewed) = (false, false);
        while attempts <= self.retries && !self.deadline.left().is_zero() {
            let version = self.version();
            let mut session = match self.session.take() {
                Some(session) => session,
                None => match self.begin().await {
                    Ok(session) => session,
                    Err(Trouble::Refused(why)) => return Err(Trouble::Refused(why)),
                    Err(other) => {
                        trouble = other;
                        attempts += 1;
                        continue;
                    }
                },
            };
            let patience = self.patience.min(self.deadline.left());
            // Whatever is late or wrong ends the conversation: a new socket hears nothing of the old one.
            match timeout(patience, ask(&mut session, version, request)).await {
                Ok(Ok(reply)) => {
                    self.session = Some(session);
                    return Ok(reply);
                }
                Ok(Err(Error::AuthUpdated | Error::AuthFailure(v3::AuthErrorKind::EngineTimeMismatch)))
                    if !was_in_step =>
                {
                    was_in_step = true;
                    self.session = Some(session);
                    // It started anew since its clock was read.
                    if let Access::User(_, keys) = self.access
                        && keys.knows_clock()
                    {
                        keys.forget();
                    }
                    continue;
                }
                // Another agent may stand there by now.
                Ok(Err(Error::AuthFailure(_))) if !was_renewed && self.forget() => {
                    was_renewed = true;
                    continue;
                }
                Ok(Err(Error::AuthFailure(kind))) => return Err(Trouble::Refused(kind.to_string())),
                Ok(Err(Error::Receive | Error::Send)) => {
                    trouble = Trouble::Lost(format!("nothing listens at {}", self.peer));
                }
                Ok(Err(other)) => trouble = Trouble::Odd(other.to_string()),
                Err(_) => trouble = Trouble::Silent,
            }
            attempts += 1;
        }
        Err(trouble)
    }

    fn forget(&self) -> bool {
        matches!(self.access, Access::User(_, keys) if keys.forget())
    }

    async fn begin(&self) -> Result<AsyncSession, Trouble> {
        // Where a forger would begin to guess.
        let first = request_id();
        let session = match &self.access {
            Access::Community(Version::V1, community) => {
                AsyncSession::new_v1(self.address, community.reveal().as_bytes(), first).await
            }
            Access::Community(_, community) => {
                AsyncSession::new_v2c(self.address, community.reveal().as_bytes(), first).await
            }
            Access::User(user, keys) => {
                let patience = self.patience.min(self.deadline.left());
                let security = keys.security(user, self.peer, self.address, patience).await?;
                AsyncSession::new_v3(self.address, first, security).await
            }
        };
        session.map_err(|error| Trouble::Lost(format!("asking {}: {}", self.peer, crate::net::io_text(&error))))
    }

    /// What trouble means, for a person.
    pub(super) fn explain(&self, trouble: Trouble) -> String {
        let peer = self.peer;
        match trouble {
            Trouble::Lost(why) => why,
            Trouble::Odd(why) => format!("{peer} does not answer as an SNMP agent does: {why}"),
            Trouble::Refused(why) => match &self.access {
                Access::User(user, _) => format!(
                    "{peer} refuses the user `{}` ({why}): it does not know them, or their passwords, protocols or rights are others",
                    user.name()
                ),
                Access::Community(..) => format!("{peer} answers with the error {why}"),
            },
            Trouble::Silent => {
                let tries = u32::from(self.retries) + 1;
                let limit = duration::human(self.patience.saturating_mul(tries).min(self.deadline.limit()));
                let hint = match &self.access {
                    Access::Community(..) => "agents keep silent to a wrong community",
                    Access::User(user, _) if user.is_private() => {
                        "agents keep silent to what they cannot decrypt: see `privacy` and `privacy_password`"
                    }
                    Access::User(..) => "agents of old do not speak version 3",
                };
                format!(
                    "{peer} does not answer within {limit} ({tries} tries): no agent listens there or this host may not ask it; {hint}"
                )
            }
        }
    }
}

const TOO_BIG: u32 = 1;
const NO_SUCH_NAME: u32 = 2;
const GEN_ERR: u32 = 5;
const NO_ACCESS: u32 = 6;

/// The name of an error of an agent (RFC 3416, section 3).
fn error_name(status: u32) -> String {
    let name = match status {
        TOO_BIG => "tooBig",
        NO_SUCH_NAME => "noSuchName",
        3 => "badValue",
        4 => "readOnly",
        GEN_ERR => "genErr",
        NO_ACCESS => "noAccess",
        13 => "resourceUnavailable",
        16 => "authorizationError",
        _ => return format!("number {status}"),
    };
    name.to_owned()
}

async fn ask(session: &mut AsyncSession, version: Version, request: &Request<'_>) -> Result<Reply, Error> {
    let pdu = match request {
        Request::Get(oids) => session.get_many(&oids.iter().collect::<Vec<_>>()).await?,
        Request::Next(oid) => session.getnext(oid).await?,
        Request::Bulk(oid, repetitions) => session.getbulk(&[oid], 0, *repetitions).await?,
    };
    // An answer of another version carries no signature, or another one.
    if pdu.version()? != version {
        return Err(Error::UnsupportedVersion);
    }
    Ok(read(&pdu))
}

fn read(pdu: &Pdu<'_>) -> Reply {
    let index = usize::try_from(pdu.error_index).unwrap_or(usize::MAX);
    let mut reply = Reply { status: pdu.error_status, index, objects: Vec::new(), is_end: false };
    for (name, value) in pdu.varbinds.clone().take(MAX_OBJECTS) {
        if matches!(value, Value::EndOfMibView) {
            reply.is_end = true;
            break;
        }
        // What cannot be read ends what can be.
        let Some(name) = ObjectId::decode(name.as_bytes()) else { break };
        reply.objects.push((name, Datum::from(&value)));
    }
    reply
}

/// A number that nobody else knows.
fn request_id() -> i32 {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 4];
    // Without random numbers there is no TLS either; the address of the sender is checked all the same.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    i32::from_be_bytes(bytes) & 0x3fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_replies() {
        crate::fuzz::on_bytes("snmp_reply", |bytes| {
            let Ok(pdu) = Pdu::from_bytes(bytes) else { return };
            let reply = read(&pdu);
            assert!(reply.objects.len() <= MAX_OBJECTS && reply.objects.len() <= bytes.len());
            assert!(!error_name(reply.status).is_empty());
            for (name, datum) in &reply.objects {
                assert_eq!(name.to_string().parse().as_ref(), Ok(name), "a name is read as it is written");
                assert!(datum.number().is_none_or(f64::is_finite), "{datum:?}");
                assert!(datum.text().len() <= 20 * bytes.len() + 100, "{datum:?}");
                let _ = datum.counter();
            }
        });
    }
}
