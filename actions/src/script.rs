//! The kind `script`: runs a script or program when a state changes.

mod environment;
mod interpreter;
mod shell;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::action::{ActionContext, ActionError, ActionOutcome, Event, ScriptKind};
use monchero_core::program::{Exit, KILL_GRACE, MAX_OUTPUT, Program, RunEnd, RunError};
use monchero_core::{Invalid, Secret, duration, order, quantity, text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

use crate::template::{MAX_VALUE, Part, Referenced, Segment, Template, parse};
use interpreter::Interpreter;

/// The longest script after its template was rendered, in bytes: Linux takes 128 KiB in one variable.
const MAX_SCRIPT: usize = 120 * 1024;
/// The most that `max_output` may be, in bytes: what is kept is written to the database.
const MAX_KEPT: usize = 1024 * 1024;
/// The longest `kill_grace`: it comes on top of the timeout, and nothing else runs for the check until it is over.
const MAX_KILL_GRACE: Duration = Duration::from_secs(60);
/// Where a program that is named without its path is looked for before the usual directories.
const SHIPPED: &str = "/usr/lib/monchero/actions";

/// Runs a script or a program when the state of a check changes: restarts a service, cleans up, collects evidence.
///
/// `script: |` and a text runs the text. Its first line may name the interpreter (`#!/bin/bash -e`), `/bin/sh` runs it otherwise. In
/// texts for sh, bash, dash and ash, templates (`{{ labels.unit }}`, `{% if state == "bad" %}`) insert values of the event. Each value
/// reaches the shell as a reference to an environment variable, in quotes if it stands bare, so it is always one word of text and never a
/// command, whatever it contains. Templates in single quotes, and where a program would take the value for code (`eval`, `sh -c`, `ssh`,
/// `$((..))`, `[[ .. ]]`), are refused with a hint. A command that takes options gets values behind `--`.
///
/// `script: [/path/to/program, --message={{ message }}, --, "{{ labels.unit }}"]` runs a program without any shell. A template may stand
/// behind `--option=` and, as a whole argument, behind `--`; the program itself is fixed. It is a whole path, or a bare name that is looked
/// for in `/usr/lib/monchero/actions`, where the scripts that come with monchero are (`restart-unit`, `snapshot`), and then in the usual
/// directories of programs.
///
/// Both find the event in their environment, each value at most 32 KiB long: `MONCHERO_HOST`, `MONCHERO_CHECK`, `MONCHERO_KIND`,
/// `MONCHERO_STATE`, `MONCHERO_PREVIOUS_STATE`, `MONCHERO_STATE_TYPE` (`soft` or `hard`), `MONCHERO_ATTEMPT`, `MONCHERO_MAX_ATTEMPTS`,
/// `MONCHERO_MESSAGE`, `MONCHERO_OUTPUT`, `MONCHERO_INCIDENT`, `MONCHERO_INCIDENT_SINCE`, `MONCHERO_INCIDENT_DURATION`, `MONCHERO_REASON`,
/// `MONCHERO_NOW`, `MONCHERO_DRILL` (`true` or `false`) and `MONCHERO_LABEL_<NAME>` for each label; and all of it, metrics included, as
/// one JSON document on standard input. A label that a template names and the check lacks is an error, and the script does not run;
/// `{{ labels.unit | default(value="nginx") }}` says what to take instead.
///
/// A script succeeds if its exit status is 0. It runs at most once for what set it off, never twice at a time for one check, and what it
/// starts ends with it.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    /// The text of a script, or a program with its arguments as a list. `script: ..` is short for `script: { run: .. }`.
    run: Run,
    /// Further variables of the environment, as a map. They are not templates.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Variables of the environment that are secret, as a map of names to secrets. They never show in output of monchero.
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    /// The user as whom it runs, if the daemon is root. Default: the daemon's own.
    #[serde(default)]
    run_as: Option<String>,
    /// The directory in which it runs, an absolute path. Default: `/`.
    #[serde(default)]
    directory: Option<PathBuf>,
    /// How much of its standard output is kept, at most `1MiB`; of its standard error, 8 KiB are. Default: `64KiB`.
    #[serde(default = "default_max_output", deserialize_with = "size")]
    #[schemars(with = "String")]
    max_output: usize,
    /// How long it may clean up between SIGTERM and SIGKILL when its time is over, at most `60s`. Default: `2s`.
    #[serde(default = "default_kill_grace", with = "duration::text")]
    #[schemars(with = "String")]
    kill_grace: Duration,
    /// Whether what it left running in the background may live on, as an init script needs it that starts a service. Default: `false`.
    #[serde(default)]
    allow_background: bool,
    /// Set `allow` to run a program that others than root and the daemon's user could have changed: one that they can write to, or that
    /// stands in a directory that they can write to. By default (`refuse`) it is not run.
    #[serde(default)]
    insecure_permissions: InsecurePermissions,
    #[serde(skip)]
    plan: Option<Plan>,
}

fn default_max_output() -> usize {
    MAX_OUTPUT
}

fn default_kill_grace() -> Duration {
    KILL_GRACE
}

/// Whether a program that others can change is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum InsecurePermissions {
    /// It is not.
    #[default]
    Refuse,
    /// It is.
    Allow,
}

/// Reads a size such as `64KiB`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (value, dimension) = quantity::parse(&text).map_err(de::Error::custom)?;
    if !matches!(dimension, quantity::Dimension::Bytes | quantity::Dimension::Plain) {
        return Err(de::Error::custom(format!("`{text}` is {dimension}, not a size such as `64KiB`")));
    }
    if !(1.0..=MAX_KEPT as f64).contains(&value) {
        return Err(de::Error::custom(format!("`{text}` is not between `1B` and `{}MiB`", MAX_KEPT / 1024 / 1024)));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1 MiB")]
    Ok(value as usize)
}

/// What is run, as written.
#[derive(Clone, Debug)]
enum Run {
    Text(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Run;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a script, or a list of a program and its arguments")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Run, E> {
                Ok(Run::Text(text.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Run, A::Error> {
                let mut argv = Vec::new();
                while let Some(argument) = list.next_element()? {
                    argv.push(argument);
                }
                Ok(Run::List(argv))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Run {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Run".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The text of a script, or a program with its arguments as a list.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

/// Arguments, the program first, and the variables that go with them.
type Command = (Vec<OsString>, Vec<(OsString, OsString)>);

/// What is run, judged.
#[derive(Clone, Debug)]
enum Plan {
    /// A text for an interpreter.
    Text(Interpreter, Words),
    /// A program and its arguments.
    Program(Vec<Words>),
}

/// A text that may depend on the event.
#[derive(Clone, Debug)]
enum Words {
    Fixed(String),
    Template(Box<Template>),
}

impl Plan {
    fn of(run: &Run) -> Result<Self, String> {
        match run {
            Run::Text(text) => Self::of_text(text),
            Run::List(list) => Self::of_list(list),
        }
    }

    fn of_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the script is empty".to_owned());
        }
        if let Some(line) = text.find('\0') {
            return Err(format!("the script holds NUL (byte {line})"));
        }
        let interpreter = Interpreter::of(text)?;
        let segments = parse(text).map_err(|error| error.to_string())?;
        if let Some(fixed) = fixed(&segments) {
            return Ok(Self::Text(interpreter, Words::Fixed(fixed)));
        }
        interpreter.takes_templates()?;
        let template = shell::quote(segments)
            .and_then(|segments| Template::references(&segments))
            .map_err(|error| error.to_string())?;
        Ok(Self::Text(interpreter, Words::Template(Box::new(template))))
    }

    /// R66: a value is a whole argument only behind `--`, or the part of an argument behind `--option=`.
    fn of_list(list: &[String]) -> Result<Self, String> {
        let Some(program) = list.first() else { return Err("the list names no program".to_owned()) };
        if program.contains('/') && !program.starts_with('/') || program.is_empty() {
            return Err(format!("the program `{program}` is neither a whole path, from `/` on, nor a bare name"));
        }
        let mut behind_options = false;
        let mut argv = Vec::with_capacity(list.len());
        for (index, argument) in list.iter().enumerate() {
            let wrong = |why: String| format!("argument {index} (`{}`): {why}", text::shorten(argument, 60));
            let segments = parse(argument).map_err(|error| wrong(error.message))?;
            if let Some(fixed) = fixed(&segments) {
                behind_options |= index > 0 && fixed == "--";
                argv.push(Words::Fixed(fixed));
                continue;
            }
            if index == 0 {
                return Err("the program must not depend on the event: no template may stand in its path".to_owned());
            }
            if let Some(shell) = list.iter().find(|argument| shell::runs_code(argument)) {
                return Err(wrong(format!(
                    "`{shell}` runs its arguments as code: give the script as a text, which inserts values safely"
                )));
            }
            if !behind_options && !begins_with_option(&segments) {
                return Err(wrong("a template may stand behind `--option=`, or as an argument behind `--`: the value could be taken for an option".to_owned()));
            }
            if behind_options
                && shell::takes_program(program)
                && !list.iter().skip(1).take_while(|word| *word != "--").any(|word| !word.starts_with('-'))
            {
                return Err(wrong(format!("`{program}` would take the value for its program")));
            }
            let template = Template::plain(argument).map_err(|error| wrong(error.message))?;
            argv.push(Words::Template(Box::new(template)));
        }
        Ok(Self::Program(argv))
    }

    fn needed_labels(&self) -> Vec<String> {
        let words = match self {
            Self::Text(_, words) => std::slice::from_ref(words),
            Self::Program(argv) => argv.as_slice(),
        };
        let mut labels: Vec<String> = words
            .iter()
            .flat_map(|words| match words {
                Words::Fixed(_) => &[],
                Words::Template(template) => template.needed_labels(),
            })
            .cloned()
            .collect();
        order::sort(&mut labels);
        labels.dedup();
        labels
    }

    /// The arguments and the variables that go with them.
    fn command(&self, event: &Event) -> Result<Command, String> {
        match self {
            Self::Text(interpreter, words) => {
                let rendered = match words {
                    Words::Fixed(text) => Referenced { text: text.clone(), values: Vec::new() },
                    Words::Template(template) => {
                        template.render_referenced(event).map_err(|error| error.to_string())?
                    }
                };
                if rendered.text.len() > MAX_SCRIPT {
                    return Err(format!(
                        "the script has {} bytes after its template was rendered, and at most {MAX_SCRIPT} are possible",
                        rendered.text.len()
                    ));
                }
                let (argv, mut env) = interpreter.command(&rendered.text);
                let values = rendered.values.into_iter().enumerate();
                env.extend(values.map(|(number, value)| (Referenced::variable(number).into(), value.into())));
                Ok((argv, env))
            }
            Self::Program(argv) => {
                let render = |words: &Words| match words {
                    Words::Fixed(text) => Ok(OsString::from(text)),
                    Words::Template(template) => {
                        let text = template.render(event).map_err(|error| error.to_string())?;
                        Ok(OsString::from(text::shorten(&text, MAX_VALUE)))
                    }
                };
                let mut argv = argv.iter().map(render).collect::<Result<Vec<_>, String>>()?;
                if let Some(program) = argv.first_mut() {
                    let shipped = Path::new(SHIPPED).join(&*program);
                    // A bare name that we do not ship is looked for by the one who starts it; a whole path stays what it is.
                    if shipped.is_file() {
                        *program = shipped.into();
                    }
                }
                Ok((argv, Vec::new()))
            }
        }
    }
}

/// The text, if nothing in it depends on the event.
fn fixed(segments: &[Segment]) -> Option<String> {
    segments
        .iter()
        .map(|segment| match &segment.part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether the argument begins with `--option=` or `-o=`, so that what follows cannot be an option.
fn begins_with_option(segments: &[Segment]) -> bool {
    let Some(Part::Text(text)) = segments.first().map(|segment| &segment.part) else { return false };
    text.split_once('=').is_some_and(|(option, _)| {
        let name = option.trim_start_matches('-');
        option.starts_with('-')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    })
}

impl ScriptKind for Script {
    const NAME: &'static str = "script";
    const EXAMPLE: &'static str = r#"[systemctl, restart, --, "{{ labels.unit }}"]"#;
    const SHORT_FOR: Option<&'static str> = Some("run");

    fn validate(&mut self) -> Result<(), Invalid> {
        self.plan = Some(Plan::of(&self.run).map_err(|why| ("run", why))?);
        for name in self.env.keys() {
            environment::check_name(name).map_err(|why| ("env", why))?;
        }
        for name in self.secrets.keys() {
            environment::check_name(name).map_err(|why| ("secrets", why))?;
            if self.env.contains_key(name) {
                return Err(Invalid::at("secrets", format!("`{name}` stands in `env` too")));
            }
        }
        if self.env.values().any(|value| value.contains('\0'))
            || self.secrets.values().any(|secret| secret.reveal().contains('\0'))
        {
            return Err(Invalid::at("env", "a value holds NUL, which no environment can".to_owned()));
        }
        if self.kill_grace > MAX_KILL_GRACE {
            return Err(Invalid::at("kill_grace", format!("it is longer than {}", duration::format(MAX_KILL_GRACE))));
        }
        match &self.directory {
            Some(directory) if !directory.is_absolute() => {
                Err(Invalid::at("directory", format!("`{}` is no absolute path", directory.display())))
            }
            _ => Ok(()),
        }
    }

    fn needed_labels(&self) -> Vec<String> {
        self.plan.as_ref().map(Plan::needed_labels).unwrap_or_default()
    }

    async fn run(
        &self,
        event: &Event,
        timeout: Duration,
        context: &ActionContext<'_>,
    ) -> Result<ActionOutcome, ActionError> {
        let program = self.program(event, timeout).map_err(ActionError)?;
        match context.spawner.run(program).await {
            Ok(end) => Ok(outcome(&end, timeout)),
            Err(RunError::Cancelled) => Err(ActionError("called off, because the daemon stops".to_owned())),
            Err(error) => Err(ActionError(error.to_string())),
        }
    }
}

impl Script {
    /// The program that does it for an event.
    fn program(&self, event: &Event, timeout: Duration) -> Result<Program, String> {
        let plan = self.plan.as_ref().ok_or("the settings were not validated")?;
        let (argv, references) = plan.command(event)?;
        let mut program = Program::new(argv, timeout);
        program.env = environment::of(event);
        program.env.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        program.env.extend(self.secrets.iter().map(|(name, secret)| (name.into(), secret.reveal().into())));
        program.env.extend(references);
        program.directory.clone_from(&self.directory);
        program.run_as.clone_from(&self.run_as);
        program.max_output = self.max_output;
        program.kill_grace = self.kill_grace;
        program.allow_background = self.allow_background;
        program.allow_insecure_path = self.insecure_permissions == InsecurePermissions::Allow;
        program.stdin =
            Some(serde_json::to_vec(event).map_err(|error| format!("the event cannot be written as JSON: {error}"))?);
        Ok(program)
    }
}

/// What a run's end means.
fn outcome(end: &RunEnd, timeout: Duration) -> ActionOutcome {
    let mut message = match &end.exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::TimedOut => format!("timed out after {}", duration::human(timeout)),
        Exit::TooMuchOutput => "ended, because it wrote too much output".to_owned(),
        Exit::Stuck { pid } => format!("stuck: process {pid} hangs in the kernel (state D) and cannot be ended"),
    };
    match end.leftovers {
        0 => {}
        1 => message.push_str("; a process that it left behind was ended"),
        more => drop(write!(message, "; {more} processes that it left behind were ended")),
    }
    let mut output = text::clean(&end.stdout);
    let errors = text::clean(&end.stderr);
    if !output.is_empty() && !errors.is_empty() && !output.ends_with('\n') {
        output.push('\n');
    }
    output.push_str(&errors);
    if end.truncated {
        output.push_str("\n… (the rest was cut)");
    }
    ActionOutcome { success: end.exit == Exit::Status(0), message, output }
}
