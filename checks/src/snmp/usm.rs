//! Version 3: who asks (USM, RFC 3414), and the keys that are made of the passwords.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::{Invalid, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use snmp2::v3::{Auth, AuthProtocol, Cipher, KeyExtension, Security};
use snmp2::{Error, Pdu};
use tokio::time::{Instant, timeout};

use super::session::{Trouble, bind};
use crate::blocking::Blocking;
use crate::net::{Peer, io_text};

/// A key is made of a mebibyte of the repeated password: that takes milliseconds, which no other check shall wait for.
static KEYS: Blocking = Blocking::new("monchero-keys", 128 * 1024);

/// The shortest password that agents accept (RFC 3414, section 11.2).
const MIN_PASSWORD: usize = 8;

/// A user of version 3.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// The name of the user.
    #[serde(rename = "user")]
    login: String,
    /// How messages are signed: `md5`, `sha` (SHA-1), `sha224`, `sha256`, `sha384` or `sha512`. Without, nobody proves who they are.
    auth: Option<Signature>,
    /// The password for `auth`, of at least 8 characters.
    auth_password: Option<Secret>,
    /// How messages are encrypted: `des`, `aes` (128 bits), `aes192`, `aes256`, or `aes192c` and `aes256c`, whose keys are made as
    /// Cisco's devices do. Needs `auth`.
    privacy: Option<Encryption>,
    /// The password for `privacy`, of at least 8 characters.
    privacy_password: Option<Secret>,
    /// The context, where an agent speaks for several devices.
    #[serde(default)]
    context: String,
}

/// How messages are signed.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Signature {
    /// HMAC-MD5-96.
    Md5,
    /// HMAC-SHA-96.
    #[serde(alias = "sha1")]
    Sha,
    /// HMAC-128-SHA-224.
    Sha224,
    /// HMAC-192-SHA-256.
    Sha256,
    /// HMAC-256-SHA-384.
    Sha384,
    /// HMAC-384-SHA-512.
    Sha512,
}

/// How messages are encrypted.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encryption {
    /// CBC-DES.
    Des,
    /// CFB128-AES-128.
    #[serde(alias = "aes128")]
    Aes,
    /// AES with 192 bits, keys extended after Blumenthal.
    Aes192,
    /// AES with 256 bits, keys extended after Blumenthal.
    Aes256,
    /// AES with 192 bits, keys extended after Reeder.
    Aes192c,
    /// AES with 256 bits, keys extended after Reeder.
    Aes256c,
}

impl User {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let check = |is: bool, path: &str, why: &str| if is { Ok(()) } else { Err(Invalid::at(path, why)) };
        check((1..=32).contains(&self.login.len()), "v3.user", "the name of a user has 1 to 32 characters")?;
        check(
            self.auth.is_some() == self.auth_password.is_some(),
            "v3.auth",
            "`auth` and `auth_password` go together",
        )?;
        let pair = self.privacy.is_some() == self.privacy_password.is_some();
        check(pair, "v3.privacy", "`privacy` and `privacy_password` go together")?;
        check(self.privacy.is_none() || self.auth.is_some(), "v3.privacy", "there is no `privacy` without `auth`")?;
        for (path, password) in
            [("v3.auth_password", &self.auth_password), ("v3.privacy_password", &self.privacy_password)]
        {
            let is_long = password.as_ref().is_none_or(|password| password.reveal().len() >= MIN_PASSWORD);
            check(is_long, path, "a password of SNMPv3 has at least 8 characters")?;
        }
        Ok(())
    }

    /// As an error names it.
    pub(super) fn name(&self) -> String {
        monchero_core::text::escape_controls(&self.login)
    }

    /// Whether messages are encrypted.
    pub(super) fn is_private(&self) -> bool {
        self.privacy.is_some()
    }

    fn security(&self) -> Security {
        let password = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().as_bytes().to_vec());
        let security = Security::new(self.login.as_bytes(), &password(&self.auth_password).unwrap_or_default());
        let security = security.with_context_name(&self.context);
        let Some(signature) = self.auth else { return security.with_auth(Auth::NoAuthNoPriv) };
        let security = security.with_auth_protocol(match signature {
            Signature::Md5 => AuthProtocol::Md5,
            Signature::Sha => AuthProtocol::Sha1,
            Signature::Sha224 => AuthProtocol::Sha224,
            Signature::Sha256 => AuthProtocol::Sha256,
            Signature::Sha384 => AuthProtocol::Sha384,
            Signature::Sha512 => AuthProtocol::Sha512,
        });
        let Some(encryption) = self.privacy else { return security.with_auth(Auth::AuthNoPriv) };
        let (cipher, extension) = match encryption {
            Encryption::Des => (Cipher::Des, KeyExtension::Blumenthal),
            Encryption::Aes => (Cipher::Aes128, KeyExtension::Blumenthal),
            Encryption::Aes192 => (Cipher::Aes192, KeyExtension::Blumenthal),
            Encryption::Aes256 => (Cipher::Aes256, KeyExtension::Blumenthal),
            Encryption::Aes192c => (Cipher::Aes192, KeyExtension::Reeder),
            Encryption::Aes256c => (Cipher::Aes256, KeyExtension::Reeder),
        };
        let privacy_password = password(&self.privacy_password).unwrap_or_default();
        security.with_key_extension_method(extension).with_auth(Auth::AuthPriv { cipher, privacy_password })
    }
}

/// The keys for one agent, kept from run to run.
#[derive(Default)]
pub(super) struct Keys(Mutex<Option<Known>>);

/// What is known of an agent.
#[derive(Clone)]
struct Known {
    /// With the agent's engine and the keys for it.
    security: Security,
    /// When its clock was read.
    since: Instant,
}

/// Keys are secrets.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        // It is only ever set as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the agent: it may have been replaced or started anew. Says whether it was known.
    pub(super) fn forget(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Whether the agent told its clock before it was asked with a signature, so that a wrong clock means that it started anew.
    pub(super) fn knows_clock(&self) -> bool {
        self.lock().as_ref().is_some_and(|known| known.security.engine_boots() > 0)
    }

    /// What to sign requests with now; the agent is asked who it is if it is not known.
    pub(super) async fn security(
        &self,
        user: &User,
        peer: &Peer,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Security, Trouble> {
        let known = self.lock().clone();
        let known = if let Some(known) = known {
            known
        } else {
            let known = Known { security: discover(user, peer, address, patience).await?, since: Instant::now() };
            *self.lock() = Some(known.clone());
            known
        };
        let (boots, time) = (known.security.engine_boots(), known.security.engine_time());
        let passed = i64::try_from(known.since.elapsed().as_secs()).unwrap_or(0);
        let time = if boots > 0 { time.saturating_add(passed) } else { 0 };
        Ok(known.security.with_engine_boots_and_time(boots, time))
    }
}

/// Asks an agent for its engine (RFC 3414, section 4) and makes the keys for it.
async fn discover(user: &User, peer: &Peer, address: SocketAddr, patience: Duration) -> Result<Security, Trouble> {
    let io = |error: std::io::Error| Trouble::Lost(format!("asking {peer}: {}", io_text(&error)));
    let socket = bind(address).await.map_err(io)?;
    socket.send(DISCOVERY).await.map_err(io)?;
    let mut reply = vec![0; 2048];
    let length = match timeout(patience, socket.recv(&mut reply)).await {
        Ok(length) => length.map_err(io)?,
        Err(_) => return Err(Trouble::Silent),
    };
    reply.truncate(length);
    let mut security = user.security();
    let key = address.to_string();
    let making = KEYS.call(&key, patience.max(Duration::from_secs(5)), move || {
        let error = Pdu::from_bytes_with_security(&reply, Some(&mut security)).err();
        (security, error)
    });
    let (security, error) = making.await.map_err(|why| Trouble::Lost(format!("making the keys for {peer} {why}")))?;
    let is_engine = (5..=32).contains(&security.engine_id().len());
    match error {
        Some(Error::AuthUpdated) if is_engine => Ok(security),
        Some(other) if other != Error::AuthUpdated => Err(Trouble::Odd(other.to_string())),
        _ => Err(Trouble::Odd("it does not say who it is (SNMPv3 engine)".to_owned())),
    }
}

/// A request without user, signature and objects, which an agent answers with its engine.
const DISCOVERY: &[u8] = &[
    0x30, 0x3a, // the message
    0x02, 0x01, 3, // version 3
    0x30, 0x0f, 0x02, 0x02, 0x4a, 0x69, 0x02, 0x03, 0x00, 0xff, 0xe3, 0x04, 0x01, 4, 0x02, 0x01,
    3, // id, size, reportable, USM
    0x04, 0x10, 0x30, 0x0e, 0x04, 0, 0x02, 1, 0, 0x02, 1, 0, 0x04, 0, 0x04, 0, 0x04, 0, // nobody
    0x30, 0x12, 0x04, 0, 0x04, 0, // no context
    0xa0, 0x0c, 0x02, 0x02, 0x37, 0xf0, 0x02, 1, 0, 0x02, 1, 0, 0x30, 0, // a request for nothing
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_whole() {
        assert_eq!(usize::from(DISCOVERY[1]) + 2, DISCOVERY.len());
        let mut security = Security::new(b"x", b"").with_auth(Auth::NoAuthNoPriv);
        let pdu = Pdu::from_bytes_with_security(DISCOVERY, Some(&mut security));
        // It names no engine, so nothing is learnt of it, but it could be read to its end.
        assert!(matches!(pdu, Err(Error::AuthUpdated)), "{pdu:?}");
    }
}
