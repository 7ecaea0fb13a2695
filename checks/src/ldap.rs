//! `ldap`: whether a directory lets us in, and how many entries a search finds.

mod ber;

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::{CheckError, Invalid, Report, Secret, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::ber::{Answer, MAX_ENTRIES};
use crate::net::{Deadline, Failure, Place, ServerAddress, StartTls, TlsSettings, Wire};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, the search."),
    Field::number("entries", "", "How many entries the search finds; only with `base`."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with TLS."),
];

/// The longest name or value that is sent, in bytes.
const MAX_WORD: usize = 1024;

/// Whether a directory (LDAP) lets us in, as a user or anonymously, and how many entries a search finds.
///
/// A server that refuses, does not answer, or does not let us in is bad, and so is a search that it refuses or whose `base` does not
/// exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ldap {
    /// The host, and the port if it is not the usual one, or the path of a Unix socket: `ldap.example.org`, `10.0.0.1:1389`,
    /// `/run/slapd/ldapi`. The usual port is 389, and 636 with `tls` and without `starttls`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The name of the user in the directory: `cn=monitor,dc=example,dc=org`. Default: anonymous.
    user: Option<String>,
    /// The user's password. Without TLS it is sent as it is.
    password: Option<Secret>,
    /// Whether TLS is spoken from the start: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// Whether TLS begins on request instead, on the port for plain text; with the settings in `tls`, if there are any. Default: `false`.
    #[serde(default)]
    starttls: bool,
    /// Where a search begins: `ou=people,dc=example,dc=org`. Default: nothing is searched.
    base: Option<String>,
    /// How deep it goes: `base` (only that entry), `one` (what stands directly below it) or `all`. Default: `all`.
    #[serde(default)]
    scope: Scope,
    /// What entries must have: a map from attributes to values, all of which must fit. `*` stands for any value.
    #[serde(default)]
    filter: BTreeMap<String, String>,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time`, `entries` and `certificate`. Without a word about
    /// it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    place: Place,
}

/// How deep a search goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// Only the entry itself.
    Base,
    /// What stands directly below it.
    One,
    /// It and everything below it.
    #[default]
    All,
}

impl CheckKind for Ldap {
    const NAME: &'static str = "ldap";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: ldap.example.org, starttls: true, user: \"cn=monitor,dc=example,dc=org\", password: { env: LDAP_PASSWORD }, base: \"ou=people,dc=example,dc=org\", filter: { objectClass: person }, bad: { entries: \"< 10\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let usual = if self.tls.is_some() && !self.starttls { 636 } else { 389 };
        if self.starttls {
            self.tls.get_or_insert_default();
        }
        self.place = self.address.place(usual, self.tls.as_ref())?;
        // A server takes a name without a password for somebody who wants to stay anonymous, and lets everybody in.
        if self.user.is_some() != self.password.as_ref().is_some_and(|password| !password.reveal().is_empty()) {
            return Err(Invalid::at("user", "`user` and `password` need each other".to_owned()));
        }
        if self.base.is_none() && (!self.filter.is_empty() || self.scope != Scope::All) {
            return Err(Invalid::at("base", "a search needs a `base` to begin with".to_owned()));
        }
        let words = self.filter.iter().flat_map(|(name, value)| [name, value]).chain(&self.base).chain(&self.user);
        if let Some(long) = words.into_iter().find(|word| word.len() > MAX_WORD) {
            return Err(Invalid::at("filter", format!("`{}` has more than {MAX_WORD} bytes", excerpt(long))));
        }
        if self.filter.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            return Err(Invalid::at("filter", "attributes and values must not be empty".to_owned()));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, TlsSettings::limits(self.tls.as_ref()))
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Ldap {
    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let (tls, deadline) = (self.tls.as_ref(), Deadline::of(context));
        let mut wire = if self.starttls {
            self.place.open_after(StartTls::Ldap, tls, deadline).await?
        } else {
            self.place.open(tls, deadline).await?
        };
        self.log_in(&mut wire).await?;
        let mut report = context.report();
        let entries = match &self.base {
            Some(base) => Some(self.search(&mut wire, base, &mut report).await?),
            None => None,
        };
        let time = start.elapsed().as_secs_f64();
        // It is told that we go; whether it hears that does not matter.
        let _ = wire.send(ber::UNBIND).await;
        let certificate = wire.certificate_left(context.now);
        let values = [("time", Some(time)), ("entries", entries), ("certificate", certificate)];
        let values: Vec<_> = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Judge::new(FIELDS, &self.warning, &self.bad).item(&mut report, "", &values, || {
            let found = entries.map(|count| format!(", {} found", trim(count))).unwrap_or_default();
            format!("{} lets us in, in {}{found}", self.place, human(time, &Unit::SECONDS))
        });
        Ok(report)
    }

    async fn log_in(&self, wire: &mut Wire) -> Result<(), Failure> {
        let password = self.password.as_ref().map_or("", Secret::reveal);
        wire.send(&ber::bind(self.user.as_deref().unwrap_or_default(), password)).await?;
        match ber::read(wire, "the answer to the login").await? {
            Answer::Bound(result) if result.code == 0 => Ok(()),
            Answer::Bound(result) => Err(wire.fault(format!("does not let us in: {result}"))),
            Answer::Goodbye(result) => Err(wire.fault(format!("ends the connection: {result}"))),
            _ => Err(wire.fault("says something else before it answers the login")),
        }
    }

    async fn search(&self, wire: &mut Wire, base: &str, report: &mut Report) -> Result<f64, Failure> {
        wire.send(&ber::search(base, self.scope as u8, &self.filter)).await?;
        let mut entries = 0_u32;
        loop {
            match ber::read(wire, "the answer to the search").await? {
                Answer::Entry if entries < MAX_ENTRIES => entries += 1,
                Answer::Reference => {}
                Answer::Found(result) if result.code == 0 => return Ok(f64::from(entries)),
                // The size that we or the server allow.
                Answer::Found(result) if result.code == 4 => {
                    report.find(
                        State::Warning,
                        format!("the search finds more than the {entries} entries that were counted"),
                    );
                    return Ok(f64::from(entries));
                }
                Answer::Found(result) => {
                    return Err(wire.fault(format!("does not search `{}`: {result}", excerpt(base))));
                }
                Answer::Goodbye(result) => return Err(wire.fault(format!("ends the connection: {result}"))),
                Answer::Entry | Answer::Bound(_) => return Err(wire.fault("says something else than was searched")),
            }
        }
    }
}
