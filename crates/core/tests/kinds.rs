//! Kinds of checks and actions, as the settings struct of each makes them.

use jiff::Timestamp;
use monchero_core::action::{Action, ActionContext, ActionKind, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::check::{CheckError, CheckKind, Context, Kind};
use monchero_core::node::{Key, Node, SecretSource, Secrets, Span, Value};
use monchero_core::report::CheckResult;
use monchero_core::{Invalid, Name, Report, State};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn fetch(&self, _: SecretSource<'_>) -> Result<String, String> {
        Err("there are none".to_owned())
    }
}

/// Counts sheep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sheep {
    /// The meadow on which they are.
    meadow: String,
    /// How many there should be.
    #[serde(default)]
    at_least: u32,
}

impl CheckKind for Sheep {
    const NAME: &'static str = "sheep";
    const EXAMPLE: &'static str = "{ meadow: north, at_least: 3 }";
    const SHORT_FOR: Option<&'static str> = Some("meadow");

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.at_least > 1_000 { Err(Invalid::at("at_least", "no meadow feeds so many".to_owned())) } else { Ok(()) }
    }

    async fn run(&self, _: &Context<'_>) -> Result<Report, CheckError> {
        Err(CheckError::new(format_args!("counting on `{}`", self.meadow), &std::io::Error::other("it is dark")))
    }
}

/// Tells the shepherd.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Whistle {}

impl TargetKind for Whistle {
    const NAME: &'static str = "whistle";
    const EXAMPLE: &'static str = "{}";

    async fn deliver(&self, message: &Message, _: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        Ok(message.delivery_id.clone().into())
    }
}

fn scalar(text: &str, at: u32) -> Node {
    let span = Span { file: 0, start: at, end: at + 1 };
    Node { span, value: Value::Scalar { text: text.into(), quoted: false } }
}

fn settings(entries: &[(&str, &str)]) -> Node {
    let entry = |(at, (key, value)): (u32, &(&str, &str))| {
        (Key { span: Span { file: 0, start: at, end: at }, name: Box::from(*key) }, scalar(value, 10 + at))
    };
    Node { span: Span::default(), value: Value::Map((0..).zip(entries).map(entry).collect()) }
}

#[test]
fn a_kind_is_what_its_settings_say() {
    let kind = Kind::of::<Sheep>();
    assert_eq!((kind.name, kind.example, kind.short_for), (Sheep::NAME, Sheep::EXAMPLE, Some("meadow")));
    assert!(kind.build(&settings(&[("meadow", "north"), ("at_least", "3")]), &NoSecrets).is_ok());
    assert!(kind.build(&scalar("north", 5), &NoSecrets).is_ok());
    let errors = [
        (settings(&[("meadow", "north"), ("at_least", "3000")]), "`at_least`: no meadow feeds so many", 11),
        (settings(&[("meadow", "north"), ("atleast", "3")]), "unknown setting `atleast`", 1),
        (settings(&[]), "the setting `meadow` is missing", 0),
    ];
    for (node, message, at) in errors {
        let error = kind.build(&node, &NoSecrets).err().unwrap();
        assert_eq!((error.to_string().as_str(), error.span.start), (message, at));
    }
    let schema = kind.schema(&mut SchemaGenerator::default()).to_value();
    assert_eq!(schema["properties"]["meadow"]["description"], "The meadow on which they are.");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_target_is_an_action_that_tells() {
    let kind = ActionKind::target::<Whistle>();
    assert!(kind.tells && kind.short_for.is_none());
    assert!(matches!(kind.build(&settings(&[]), &NoSecrets), Ok(Action::Target(_))));
    assert!(kind.build(&settings(&[("volume", "11")]), &NoSecrets).is_err());
}

#[test]
fn what_could_not_be_found_out_is_unknown_with_the_whole_reason() {
    let error = CheckError::new("counting", &std::io::Error::other("it is dark"));
    assert_eq!(error.to_string(), "counting: it is dark");
    let result = |error, on_timeout| {
        let answer: Result<Report, CheckError> = Err(error);
        CheckResult::new(Name::new("x"), Timestamp::UNIX_EPOCH, std::time::Duration::ZERO, answer, on_timeout)
    };
    let found = result(error, State::Bad).unwrap().result;
    assert_eq!((found.state, &*found.message), (State::Unknown, "counting: it is dark"));
    let late = CheckError::TimedOut(std::time::Duration::from_secs(30));
    assert_eq!(result(late.clone(), State::Bad).unwrap().result.state, State::Bad);
    assert_eq!(&*result(late, State::Unknown).unwrap().result.message, "timed out after 30s");
    assert_eq!(result(CheckError::Cancelled, State::Bad), None);
}
