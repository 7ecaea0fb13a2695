//! Types of the settings that need more than serde's words.

use std::borrow::Cow;
use std::fmt;

use monchero_core::quantity::{self, Dimension};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// What a plugin prints, and what its exit status means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// The Nagios plugin convention: the exit status 0 is okay, 1 warning, 2 bad, 3 unknown; anything else is unknown with the reason. The
    /// first line of the output is the message, further lines are long output, and metrics stand behind a `|`. This is the default.
    #[default]
    Nagios,
    /// Checkmk local checks: each line `STATUS NAME METRICS TEXT` is a service of its own, named `CHECK/NAME`. A NAME with blanks stands in
    /// quotes. METRICS is `-`, or `name=value;warn;crit;min;max` joined by `|`, where a level is `upper` or `lower:upper` and alerts at or
    /// above the upper and below the lower. STATUS is 0 to 3, or `P` to be judged by the levels; the levels of other services only inform.
    /// A line may begin with `cached(TIME,INTERVAL) `; when it is older than two intervals, the service is unknown. The check itself is
    /// okay, and unknown when a line is no local check. The exit status means nothing.
    Checkmk,
    /// monchero's own: YAML or JSON, one mapping or a list of them. A single mapping is the result of the check; each mapping of a list is a
    /// service, named `CHECK/NAME` by its `check_name`. `status` must be there: okay, warning, bad, unknown, their Nagios words, or 0 to 3.
    /// `message`, `extended_message`, `interval` (seconds, or a text such as `5m`: when to run next) and `metrics` may be. A metric is a
    /// number, or a mapping with `value`, `unit`, `min`, `max`, `warning_min`, `warning_max`, `warning_mode`, and the same for `bad_` or
    /// `critical_`. With the mode `outside`, the default, a value alerts that is at or above the minimum and, if there is a maximum, below
    /// it; with `inside`, one that is below the minimum or above the maximum. The exit status means nothing.
    Native,
    /// Any command: its exit status is the state, by the lists `okay`, `warning`, `bad` and `unknown`. The output is read as that of a
    /// Nagios plugin.
    ExitCode,
}

impl Format {
    /// The word in the settings.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nagios => "nagios",
            Self::Checkmk => "checkmk",
            Self::Native => "native",
            Self::ExitCode => "exit-code",
        }
    }
}

/// Whether a plugin is run that others could have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InsecurePermissions {
    /// It is not run; the check is unknown and says which permission is at fault. This is the default.
    #[default]
    Refuse,
    /// It is run all the same.
    Allow,
}

/// A command without a shell: its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program and its arguments; empty only before validation.
    pub(super) words: Box<[Box<str>]>,
    /// Whether the words come from one text, in which shell syntax is a mistake.
    pub(super) split: bool,
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;
        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command, or a list of its words")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                let words = shell_words::split(text)
                    .map_err(|_| E::custom("a quote is opened in the command and never closed"))?;
                Ok(Command { words: words.into_iter().map(String::into_boxed_str).collect(), split: true })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Command { words: words.into_boxed_slice(), split: false })
            }
        }
        deserializer.deserialize_any(CommandVisitor)
    }
}

impl JsonSchema for Command {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A command: one text that is split into words as a shell would, or a list of words. No shell runs it.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": ["string", "number"] }, "minItems": 1 }],
        })
    }
}

/// What a shell would act upon. In a command that is split without a shell these would go to the program as arguments.
const SHELL_SIGNS: [&str; 14] =
    ["|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "&>", ">/dev/null", "2>/dev/null", "1>&2"];

impl Command {
    /// Why this cannot be run, if so.
    pub(super) fn judge(&self) -> Result<(), String> {
        let program = match self.words.first() {
            Some(program) if !program.is_empty() => program,
            _ => return Err("the command is empty".to_owned()),
        };
        if self.words.iter().any(|word| word.contains('\0')) {
            return Err("a NUL character cannot stand in a command".to_owned());
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err(format!("`{program}` is a relative path: write the whole path, or the bare name of a program"));
        }
        if let Some(sign) = self.words.iter().filter(|_| self.split).find(|word| SHELL_SIGNS.contains(&&***word)) {
            return Err(format!(
                "`{sign}` means something to a shell only, and none runs this: write `[sh, -c, \"..\"]`, or a list of words if it is an argument"
            ));
        }
        Ok(())
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(super) usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match quantity::parse(&text) {
            Ok((bytes, Dimension::Bytes)) if bytes >= 0.0 => {
                // A cast of a float saturates, and validation has limits far below.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "not negative, and saturating"
                )]
                Ok(Self(bytes as usize))
            }
            Ok((_, Dimension::Plain)) => {
                Err(de::Error::custom(format!("`{text}` has no unit: write `{text}B` or `{text}KiB`")))
            }
            Ok(_) => Err(de::Error::custom(format!("`{text}` is no size: write e.g. `64KiB`"))),
            Err(why) => Err(de::Error::custom(why)),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A number of bytes with a unit: `64KiB`, `1MiB`.", "type": "string" })
    }
}
