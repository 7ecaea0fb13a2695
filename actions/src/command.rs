//! The kind `command`: tells people through a program of one's own.

use std::ffi::OsString;
use std::time::Duration;

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::program::{Exit, Program};
use monchero_core::text::{clean, escape_controls, shorten};
use monchero_core::{Invalid, duration};
use schemars::JsonSchema;

use crate::wording;

/// The most of what the program said that stands in the log of who was told what, in bytes.
const MAX_SAID: usize = 300;

/// Tells people through a program of one's own: an SMS gateway, a ticket system, a light on the wall.
///
/// The program gets the whole event as JSON on standard input, in the shape that `webhook` sends, and `MONCHERO_*` variables: `HOST`,
/// `CHECK`, `STATE`, `PREVIOUS_STATE`, `KIND`, `TITLE`, `MESSAGE`, `INCIDENT`, `THREAD`, `DELIVERY_ID`. It is run without a shell. Exit
/// status 0 says that somebody was told; 64 to 69, 77 and 78 (`sysexits.h`) that trying again is useless; anything else, and a timeout, is
/// tried again later, as for every target. The first line that it prints is kept, and if it prints a line `reference: TEXT`, the next
/// message about the same incident has that in `reference` and `MONCHERO_REFERENCE`: the number of a ticket, say.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    /// The program and its arguments: a list, or a text that is split as a shell would, without one.
    #[serde(deserialize_with = "argv")]
    #[schemars(with = "Argv")]
    run: Vec<String>,
    /// How long it may take. Default: `30s`.
    #[serde(default = "half_a_minute", with = "duration::text")]
    #[schemars(with = "String")]
    timeout: Duration,
}

/// A text, or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes the setting; its values are read by `argv`")]
enum Argv {
    Line(String),
    List(Vec<String>),
}

fn argv<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a command, or a list of a program and its arguments")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            shell_words::split(text).map_err(E::custom)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    // As a text, so that a scalar is taken as it is written; lists come all the same.
    deserializer.deserialize_str(Visitor)
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

impl TargetKind for Command {
    const NAME: &'static str = "command";
    const EXAMPLE: &'static str = "{ run: [/usr/local/bin/send-sms, \"+491234567\"] }";
    const SHORT_FOR: Option<&'static str> = Some("run");

    fn validate(&mut self) -> Result<(), Invalid> {
        match self.run.first() {
            Some(program) if program.starts_with('/') => {}
            Some(program) => return Err(Invalid::at("run", format!("`{program}` is no absolute path of a program"))),
            None => return Err(Invalid::at("run", "it names no program")),
        }
        if self.run.iter().any(|word| word.contains('\0')) {
            return Err(Invalid::at("run", "an argument cannot hold a zero byte"));
        }
        if self.timeout.is_zero() {
            return Err(Invalid::at("timeout", "it must be more than nothing"));
        }
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let mut program = Program::new(self.run.iter().map(OsString::from).collect(), self.timeout);
        program.env = variables(message);
        program.stdin = Some(wording::whole_json(message, &message.event, context.zone).to_string().into_bytes());
        let name = self.run.first().map(String::as_str).unwrap_or_default();
        let transient = |why: String| DeliveryError::Transient { why, after: None };
        let end =
            context.spawner.run(program).await.map_err(|error| transient(format!("running `{name}`: {error}")))?;
        let said = clean(if end.stdout.is_empty() { &end.stderr } else { &end.stdout });
        let first = shorten(&escape_controls(said.lines().next().unwrap_or_default().trim()), MAX_SAID);
        let first = if first.is_empty() { first } else { format!(": {first}") };
        match end.exit {
            Exit::Status(0) => {
                let reference = said.lines().find_map(|line| line.strip_prefix("reference:"));
                let reference = reference.map(|text| escape_controls(text.trim())).filter(|text| !text.is_empty());
                let known = message.reference.clone();
                Ok(Delivered { answer: format!("exit status 0{first}"), reference: reference.or(known) })
            }
            Exit::Status(status @ (64..=69 | 77 | 78)) => {
                Err(DeliveryError::Permanent { why: format!("`{name}` ended with status {status}{first}") })
            }
            Exit::Status(status) => Err(transient(format!("`{name}` ended with status {status}{first}"))),
            Exit::Signal(signal) => Err(transient(format!("`{name}` was ended by signal {signal}{first}"))),
            Exit::TimedOut => {
                Err(transient(format!("`{name}` took longer than {}{first}", duration::human(self.timeout))))
            }
            Exit::TooMuchOutput => Err(transient(format!("`{name}` printed too much and was ended{first}"))),
            Exit::Stuck { pid } => Err(transient(format!("`{name}` hangs in the kernel (process {pid})"))),
        }
    }
}

/// The same facts for programs that do not read JSON.
fn variables(message: &Message) -> Vec<(OsString, OsString)> {
    let event = &message.event;
    let texts = [
        ("HOST", event.host.clone()),
        ("CHECK", event.check.name.to_string()),
        ("STATE", event.state.as_str().to_owned()),
        ("PREVIOUS_STATE", event.previous_state.as_str().to_owned()),
        ("KIND", message.kind.as_str().to_owned()),
        ("TITLE", wording::title(message)),
        ("MESSAGE", event.message.clone()),
        ("INCIDENT", event.incident.as_ref().map(|incident| incident.id.clone()).unwrap_or_default()),
        ("THREAD", message.thread.clone()),
        ("DELIVERY_ID", message.delivery_id.clone()),
        ("REFERENCE", message.reference.clone().unwrap_or_default()),
    ];
    let texts = texts.into_iter().map(|(name, text)| {
        let text = shorten(&text.replace('\0', ""), crate::template::MAX_VALUE);
        (OsString::from(format!("MONCHERO_{name}")), OsString::from(text))
    });
    texts.collect()
}
