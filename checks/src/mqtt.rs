//! `mqtt`: whether an MQTT broker lets us in, and what it has to say on a topic.

mod packet;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Secret, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::packet::{Login, Packet, Published};
use crate::net::{Deadline, Failure, Place, ServerAddress, TlsSettings, Wire, random};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, and the answer to a ping or the message."),
    Field::number("value", "", "The message on `topic`, if it is a number."),
    Field::number("size", "B", "The size of the message on `topic`."),
    Field::number("certificate", "s", "For how long the broker's certificate is valid yet; only with `tls`."),
    Field::text("payload", "The message on `topic`."),
    Field::text("retained", "Whether the broker had kept the message, or it was sent just now: `yes` or `no`."),
];

/// Whether an MQTT broker lets us in and answers a ping, or, with `topic`, which message it has kept there or sends next (MQTT 3.1.1).
///
/// A broker that refuses, does not answer, or does not let us in is bad, and so is a topic without a message before the run
/// ends. A message that the broker has kept does not say how old it is: whoever must know that lets the sender write a time into it, or sends
/// without keeping it, and waits for the next one with a long `timeout`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mqtt {
    /// The host, and the port if it is not the usual one, or the path of a Unix socket: `broker.example.org`, `10.0.0.1:1884`,
    /// `/run/mosquitto.sock`. The usual port is 1883, and 8883 with `tls`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The user.
    user: Option<String>,
    /// The password. Without `tls` it is sent as it is.
    password: Option<Secret>,
    /// Whether TLS is spoken: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// The name under which monchero appears at the broker. Default: `monchero-` and random digits.
    client: Option<String>,
    /// The topic whose message is waited for. `+` stands for one level and `#` for all further ones; then the first message on any of
    /// the topics counts.
    topic: Option<String>,
    /// When it is a warning. A single range is about `time`; a map has conditions for `time`, `value`, `size`, `certificate`, `payload`
    /// (globs) and `retained`. Without a word about it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    place: Place,
}

/// The longest topic, name of a client or of a user that is taken: what servers must allow has 23 bytes, what fits in a message 65,535.
const MAX_WORD: usize = 1024;

impl CheckKind for Mqtt {
    const NAME: &'static str = "mqtt";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: broker.example.org, tls: true, user: monitor, password: { env: MQTT_PASSWORD }, topic: cellar/temperature, warning: { value: \"> 25\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let usual = if self.tls.is_some() { 8883 } else { 1883 };
        self.place = self.address.place(usual, self.tls.as_ref())?;
        if self.password.is_some() && self.user.is_none() {
            return Err(Invalid::at("password", "a password needs a `user`".to_owned()));
        }
        for (setting, word) in [("user", &self.user), ("client", &self.client), ("topic", &self.topic)] {
            if word.as_ref().is_some_and(|word| word.is_empty() || word.len() > MAX_WORD || word.contains('\0')) {
                return Err(Invalid::at(setting, format!("`{setting}` has 1 to {MAX_WORD} bytes")));
            }
        }
        if self.password.as_ref().is_some_and(|password| password.reveal().len() > usize::from(u16::MAX)) {
            return Err(Invalid::at("password", "a password has at most 65535 bytes".to_owned()));
        }
        if self.topic.as_ref().is_some_and(|topic| !is_filter(topic)) {
            return Err(Invalid::at(
                "topic",
                "`+` and `#` stand for whole levels, and `#` for the last one".to_owned(),
            ));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, TlsSettings::limits(self.tls.as_ref()))
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

/// Whether a topic uses its wildcards as it may (MQTT 3.1.1, section 4.7.1).
fn is_filter(topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    levels.iter().enumerate().all(|(index, level)| match *level {
        "#" => index + 1 == levels.len(),
        "+" => true,
        other => !other.contains(['#', '+']),
    })
}

impl Mqtt {
    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let mut wire = self.place.open(self.tls.as_ref(), Deadline::of(context)).await?;
        self.log_in(&mut wire).await?;
        let message = if let Some(topic) = &self.topic {
            Some(self.message(&mut wire, topic).await?)
        } else {
            wire.send(&packet::PING).await?;
            while packet::read(&mut wire, "the answer to a ping").await? != Packet::Pong {}
            None
        };
        let time = start.elapsed().as_secs_f64();
        // It is told that we go; whether it hears that does not matter.
        let _ = wire.send(&packet::DISCONNECT).await;
        let mut report = context.report();
        let certificate = wire.certificate_left(context.now);
        self.judge(&mut report, time, message.as_ref(), certificate);
        Ok(report)
    }

    async fn log_in(&self, wire: &mut Wire) -> Result<(), Failure> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => format!("monchero-{:08x}", u32::from_be_bytes(random()?)),
        };
        let password = self.password.as_ref().map(Secret::reveal);
        wire.send(&packet::connect(Login { client: &client, user: self.user.as_deref(), password })).await?;
        match packet::read(wire, "the answer to CONNECT").await? {
            Packet::Connected(0) => Ok(()),
            Packet::Connected(code) => Err(wire.fault(format!("does not let us in: {}", packet::refusal(code)))),
            _ => Err(wire.fault("says something else before it answers CONNECT")),
        }
    }

    /// The first message on a topic. The broker may send it before it confirms the subscription.
    async fn message(&self, wire: &mut Wire, topic: &str) -> Result<Published, Failure> {
        wire.send(&packet::subscribe(topic)).await?;
        loop {
            match packet::read(wire, &format!("a message on `{}`", excerpt(topic))).await? {
                Packet::Published(message) => return Ok(message),
                Packet::Subscribed(false) => {
                    return Err(wire.fault(format!("does not let us read `{}`", excerpt(topic))));
                }
                _ => {}
            }
        }
    }

    fn judge(&self, report: &mut Report, time: f64, message: Option<&Published>, certificate: Option<f64>) {
        let text = message.map(|message| String::from_utf8_lossy(&message.payload));
        let number = text.as_ref().and_then(|text| text.trim().parse().ok()).filter(|number: &f64| number.is_finite());
        let numbers = [
            ("time", Some(time)),
            ("value", number),
            ("size", message.map(|message| message.payload.len() as f64)),
            ("certificate", certificate),
        ];
        let retained = message.map(|message| if message.is_retained { "yes" } else { "no" });
        let texts = [("payload", text.as_deref()), ("retained", retained)];
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, Value::Number(value?))));
        let texts = texts.into_iter().filter_map(|(name, value)| Some((name, Value::Text(value?))));
        let values: Vec<_> = numbers.chain(texts).collect();
        let wants_number = [&self.warning, &self.bad].iter().any(|limits| limits.names().any(|name| name == "value"));
        if let Some(message) = message.filter(|_| wants_number && number.is_none()) {
            let shown = excerpt(&String::from_utf8_lossy(&message.payload));
            report.find(
                monchero_core::State::Unknown,
                format!("the message on {} is no number: `{shown}`", excerpt(&message.topic)),
            );
        }
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let took = human(time, &Unit::SECONDS);
            match message {
                None => format!("{} answers in {took}", self.place),
                Some(message) => {
                    let shown = excerpt(text.as_deref().unwrap_or_default());
                    let kept = if message.is_retained { "kept" } else { "sent" };
                    format!("{} is {shown}, {kept}, in {took}", excerpt(&message.topic))
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_topics() {
        for good in ["a", "a/b", "#", "a/#", "+/b/+", "/"] {
            assert!(is_filter(good), "{good}");
        }
        for wrong in ["a#", "#/a", "a/b+", "+a/#"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
