//! Kinds for the tests of the loader, which knows none by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use monchero_core::action::{
    ActionContext, ActionKind, ActionOutcome, Delivered, DeliveryError, Message, ScriptKind, TargetKind,
};
use monchero_core::check::{CheckKind, Kind, Looks};
use monchero_core::items::Field;
use monchero_core::{ActionError, CheckError, Context, Event, Secret};
use monchero_core::{Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) const CHECKS: &[Kind] = &[Kind::of::<Probe>(), Kind::of::<Beat>(), Kind::of::<Plugin>(), Kind::of::<All>()];
pub(super) const ACTIONS: &[ActionKind] = &[ActionKind::target::<Mail>(), ActionKind::script::<Fix>()];

/// Asks a server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// The address.
    url: String,
    /// The port.
    #[serde(default)]
    port: Option<u16>,
    /// What is expected.
    #[serde(default)]
    expect: Expect,
    /// A password.
    #[serde(default)]
    #[expect(dead_code, reason = "only read from the file")]
    token: Option<Secret>,
    /// Secret headers.
    #[serde(default)]
    #[expect(dead_code, reason = "only read from the file")]
    headers: BTreeMap<String, Secret>,
    /// When it warns.
    #[serde(default)]
    warning: Thresholds,
}

/// What is expected of an answer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    /// The status.
    status: Option<u16>,
    /// Words in it.
    words: Vec<String>,
    /// How it is read.
    mode: Mode,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Plain,
    Json,
}

impl CheckKind for Probe {
    const NAME: &'static str = "probe";
    const LOOKS: Looks = Looks::At("url");
    const EXAMPLE: &'static str = "{ url: http://localhost }";

    fn validate(&mut self) -> Result<(), Invalid> {
        if !self.url.contains("://") {
            return Err(Invalid::at("url", format!("`{}` is no URL", self.url)));
        }
        if self.port == Some(0) {
            return Err(Invalid::at("port", "there is no port 0".to_owned()));
        }
        self.warning.validate("warning", &[Field::number("time", "s", "How long it took.")])
    }

    async fn run(&self, _: &Context<'_>) -> Result<Report, CheckError> {
        let words = self.expect.words.len()
            + usize::from(self.expect.status.unwrap_or(0))
            + usize::from(matches!(self.expect.mode, Mode::Json));
        Err(CheckError::Unable(words.to_string()))
    }
}

/// Waits for a sign of life.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Beat {
    /// How often.
    #[serde(default)]
    period: Option<String>,
}

impl CheckKind for Beat {
    const NAME: &'static str = "beat";
    const EXAMPLE: &'static str = "{ period: 1d }";
    const SHORT_FOR: Option<&'static str> = Some("period");

    async fn run(&self, _: &Context<'_>) -> Result<Report, CheckError> {
        Err(CheckError::Unable(self.period.clone().unwrap_or_default()))
    }
}

/// Runs a program.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plugin {
    /// The program.
    command: Command,
    /// What it prints.
    #[serde(default)]
    format: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Command {
    Text(String),
    Words(Vec<String>),
}

impl CheckKind for Plugin {
    const NAME: &'static str = "plugin";
    const TAKES_ENV: bool = true;
    const EXAMPLE: &'static str = "/bin/true";
    const SHORT_FOR: Option<&'static str> = Some("command");

    fn validate(&mut self) -> Result<(), Invalid> {
        match self.format.as_deref() {
            None | Some("nagios" | "native") => Ok(()),
            Some(other) => Err(Invalid::at("format", format!("`{other}` is no format"))),
        }
    }

    async fn run(&self, _: &Context<'_>) -> Result<Report, CheckError> {
        Err(CheckError::Unable(match &self.command {
            Command::Text(text) => text.clone(),
            Command::Words(words) => words.join(" "),
        }))
    }
}

/// Judges others.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct All {
    /// Whom.
    of: Vec<String>,
    /// What for.
    #[serde(default)]
    note: String,
}

impl CheckKind for All {
    const NAME: &'static str = "all";
    const EXAMPLE: &'static str = "{ of: [a] }";

    fn judges(&self) -> Vec<&str> {
        self.of.iter().map(String::as_str).collect()
    }

    async fn run(&self, _: &Context<'_>) -> Result<Report, CheckError> {
        Err(CheckError::Unable(self.of.join(&self.note)))
    }
}

/// Sends mail.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mail {
    /// To whom.
    to: Vec<String>,
    /// The password of the account.
    #[serde(default)]
    #[expect(dead_code, reason = "only read from the file")]
    password: Option<Secret>,
}

impl TargetKind for Mail {
    const NAME: &'static str = "mail";
    const EXAMPLE: &'static str = "{ to: [ops@example.org] }";

    async fn deliver(&self, _: &Message, _: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        Err(DeliveryError::Permanent { why: self.to.join(",") })
    }
}

/// Runs a script.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fix {
    /// The script.
    run: String,
}

impl ScriptKind for Fix {
    const NAME: &'static str = "fix";
    const EXAMPLE: &'static str = "systemctl restart x";
    const SHORT_FOR: Option<&'static str> = Some("run");

    fn needed_labels(&self) -> Vec<String> {
        self.run.split("labels.").skip(1).filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
    }

    async fn run(&self, _: &Event, _: Duration, _: &ActionContext<'_>) -> Result<ActionOutcome, ActionError> {
        Err(ActionError(self.run.clone()))
    }
}
