//! `smart`: what disks say about their own health, by way of `smartctl`.

mod output;

use std::ffi::OsString;
use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::program::{Exit, Program, RunError};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::text::{clean, escape_controls};
use monchero_core::{BoxFuture, CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host;
use crate::net::Deadline;
use crate::settings::{OneOrMore, excerpt};
use output::Output;

const FIELDS: &[Field<'static>] = &[
    Field::number("reallocated", "", "Sectors that were replaced by spare ones; of SAS disks, the grown defects."),
    Field::number("pending", "", "Sectors that could not be read and wait to be written again."),
    Field::number(
        "uncorrectable",
        "",
        "Sectors that a test of the disk could not read; of SAS disks, the errors that could not be corrected.",
    ),
    Field::number("crc_errors", "", "Transfers that went wrong, mostly because of the cable."),
    Field::number("media_errors", "", "Reads of an NVMe disk that gave wrong data."),
    Field::number(
        "critical_warning",
        "",
        "The bits of an NVMe disk that say what is wrong: 1 spare, 2 temperature, 4 reliability, 8 read-only, 16 backup power.",
    ),
    Field::number("wear", "%", "The share of its life that an SSD has behind it; may be above 100%."),
    Field::number("spare", "%", "The share of the spare blocks of an NVMe disk that is left."),
    Field::number("temperature", "C", "The temperature in degrees Celsius."),
    Field::number("hours", "", "How many hours it has been on."),
    Field::text("health", "The disk's own verdict: `passed` or `failed`."),
    Field::text(
        "self_test",
        "How the last self-test that came to an end went: `passed` or `failed`; not known without one.",
    ),
    Field::text("model", "The model and the serial number."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "health", warning: "", bad: "failed" },
    Limit { field: "self_test", warning: "failed", bad: "" },
    Limit { field: "critical_warning", warning: "", bad: "> 0" },
    Limit { field: "reallocated", warning: "> 0", bad: "" },
    Limit { field: "pending", warning: "> 0", bad: "" },
    Limit { field: "uncorrectable", warning: "> 0", bad: "" },
    Limit { field: "media_errors", warning: "> 0", bad: "" },
    Limit { field: "wear", warning: "> 80%", bad: "> 100%" },
    Limit { field: "spare", warning: "< 20%", bad: "< 10%" },
    Limit { field: "temperature", warning: "> 60", bad: "> 75" },
];

/// What disks say about their own health (SMART), by way of `smartctl` from smartmontools 7 or later: their verdict, bad sectors, wear, temperature.
///
/// `smartctl` needs root, or a rule of sudo (`command`). A disk that is named and not there is bad; one that cannot be asked is unknown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smart {
    /// The disks, one or a list of up to 64: `/dev/sda`. A type that `smartctl` cannot find out itself stands behind it, such as that of a disk behind a RAID
    /// controller: `/dev/bus/0 megaraid,3`. Default: all that `smartctl --scan-open` finds.
    device: Option<OneOrMore<String>>,
    /// The program and arguments in front of those of the check: `[/usr/bin/sudo, -n, /usr/sbin/smartctl]`, with `monchero ALL=(root) NOPASSWD: /usr/sbin/smartctl`
    /// in the configuration of sudo. Default: `/usr/sbin/smartctl`.
    #[serde(default = "smartctl")]
    command: OneOrMore<String>,
    /// Whether a disk that sleeps is woken up. If not, it is okay as long as it sleeps. Default: `false`.
    #[serde(default)]
    wake: bool,
    /// Which of the disks are looked at: globs on the name, or conditions on fields (`{ model: "Samsung*" }`). Default: all.
    #[serde(default)]
    only: Filter,
    /// Which of the disks are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `reallocated`; a map has ranges for `reallocated`, `pending`, `uncorrectable`, `crc_errors`, `media_errors`,
    /// `critical_warning`, `wear` and `spare` (percent), `temperature` (degrees, without a unit), `hours`, and texts for `health`, `self_test` and `model`. Without a
    /// word about them, it is a warning when `self_test` is `failed`, when `reallocated`, `pending`, `uncorrectable` or `media_errors` is above 0, `wear` above 80%,
    /// `spare` below 20%, and `temperature` above 60.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, it is bad when `health` is `failed`, `critical_warning` above 0, `wear` above
    /// 100%, `spare` below 10%, and `temperature` above 75.
    #[serde(default)]
    bad: Thresholds,
}

fn smartctl() -> OneOrMore<String> {
    OneOrMore(vec!["/usr/sbin/smartctl".to_owned()])
}

/// How many disks one check may have: each is a process, all at the same time.
const MAX_DEVICES: usize = 64;
/// How much of the output is kept, in bytes: a disk with long logs prints some 100 KiB.
const MAX_OUTPUT: usize = 1024 * 1024;

impl CheckKind for Smart {
    const NAME: &'static str = "smart";
    const EXAMPLE: &'static str =
        "{ device: [/dev/sda, /dev/nvme0], warning: { reallocated: \"> 10\", temperature: 50 } }";
    const TAKES_ENV: bool = true;
    const SHORT_FOR: Option<&'static str> = Some("device");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(OneOrMore(devices)) = &self.device {
            if devices.len() > MAX_DEVICES {
                return Err(Invalid::at("device", format!("a check looks at up to {MAX_DEVICES} disks")));
            }
            if let Some(device) = devices.iter().find(|device| Device::parse(device).is_none()) {
                let why = "is no disk: write its path, and the type behind it if it needs one";
                return Err(Invalid::at("device", format!("`{}` {why}", escape_controls(device))));
            }
        }
        if self.command.0.first().is_none_or(|program| !program.starts_with('/')) {
            return Err(Invalid::at("command", "the program must be a whole path".to_owned()));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let devices = match &self.device {
            Some(OneOrMore(devices)) => devices.iter().filter_map(|device| Device::parse(device)).collect(),
            None => self.scan(context, deadline).await?,
        };
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        // What `except` names is not even asked.
        let everything = Filter::default();
        let known = judge.filtered(&everything, &self.except);
        let devices: Vec<Device> = devices.into_iter().filter(|device| known.wants(&device.name(), &[])).collect();
        let asks = devices.iter().map(|device| -> BoxFuture<'_, _> { Box::pin(self.ask(context, deadline, device)) });
        let mut report = context.report();
        for (device, answer) in devices.iter().zip(all(asks.collect()).await) {
            match answer {
                Ok(output) => self.judge(&judge, &mut report, device, &output, context),
                Err(CheckError::Cancelled) => return Err(CheckError::Cancelled),
                Err(why) => {
                    report.find(State::Unknown, format!("{}: {}", device.shown(), escape_controls(&why.to_string())));
                }
            }
        }
        judge.end(&mut report, "disk");
        Ok(report)
    }
}

/// A disk, and how `smartctl` is to talk to it.
struct Device {
    path: String,
    kind: Option<String>,
}

impl Device {
    /// A path, and perhaps a type. Neither can be taken for an option.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (path, kind) = (words.next()?, words.next());
        let is_kind = |kind: &str| kind.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_device = path.starts_with("/dev/") && kind.is_none_or(is_kind) && words.next().is_none();
        is_device.then(|| Self { path: path.to_owned(), kind: kind.map(str::to_owned) })
    }

    /// Several disks behind a controller share one path.
    fn name(&self) -> String {
        match &self.kind {
            Some(kind) if kind.contains(',') => format!("{} {kind}", self.path),
            _ => self.path.clone(),
        }
    }

    fn shown(&self) -> String {
        escape_controls(&self.name())
    }
}

impl Smart {
    /// All disks that `smartctl` finds.
    async fn scan(&self, context: &Context<'_>, deadline: Deadline) -> Result<Vec<Device>, CheckError> {
        let output = self.call(context, deadline, &["--scan-open", "--json=c"]).await?;
        let devices: Vec<Device> = output
            .devices
            .iter()
            .filter_map(|found| Device::parse(&format!("{} {}", found.name, found.kind.as_deref().unwrap_or_default())))
            .take(MAX_DEVICES)
            .collect();
        if devices.is_empty() {
            let messages = excerpt(&output.messages());
            let colon = if messages.is_empty() { "" } else { ": " };
            let text = format!("`smartctl --scan-open` finds no disk{colon}{messages}");
            return Err(CheckError::Unable(format!("{text}; without the right to open them it finds none: {HINT}")));
        }
        Ok(devices)
    }

    async fn ask(&self, context: &Context<'_>, deadline: Deadline, device: &Device) -> Result<Output, CheckError> {
        let mut arguments = vec!["--json=c", "-a"];
        if !self.wake {
            arguments.extend(["-n", "standby"]);
        }
        if let Some(kind) = &device.kind {
            arguments.extend(["-d", kind]);
        }
        arguments.push(&device.path);
        self.call(context, deadline, &arguments).await
    }

    /// Runs `smartctl`.
    async fn call(&self, context: &Context<'_>, deadline: Deadline, arguments: &[&str]) -> Result<Output, CheckError> {
        let argv = self.command.0.iter().map(String::as_str).chain(arguments.iter().copied()).map(OsString::from);
        let program = Program {
            env: context.env.to_vec(),
            max_output: MAX_OUTPUT,
            ..Program::new(argv.collect(), deadline.left())
        };
        let end = context.spawner.run(program).await.map_err(|error| match error {
            RunError::Cancelled => CheckError::Cancelled,
            RunError::Start { .. } => CheckError::Unable(format!("{error}; `smartctl` is part of smartmontools")),
            RunError::Untrusted(_) => CheckError::Unable(error.to_string()),
        })?;
        let failed = |why: &str| {
            let stderr = excerpt(&clean(&end.stderr));
            let colon = if stderr.is_empty() { "" } else { ", standard error: " };
            CheckError::Unable(format!("`smartctl` {why}{colon}{stderr}"))
        };
        match end.exit {
            Exit::Status(_) => {}
            Exit::Signal(signal) => return Err(failed(&format!("was ended by signal {signal}"))),
            Exit::TimedOut => return Err(CheckError::TimedOut(deadline.limit())),
            Exit::TooMuchOutput => return Err(failed("printed too much")),
            Exit::Stuck { pid } => return Err(CheckError::Stuck(pid)),
        }
        serde_json::from_slice(&end.stdout).map_err(|why| match end.exit {
            Exit::Status(status) if status != 0 => failed(&format!("ended with status {status} and no JSON")),
            _ => failed(&format!("printed no JSON that can be read ({why}): it must be version 7 or later")),
        })
    }

    /// Of a path that is not there, `smartctl` says as a rule that it cannot detect the type.
    fn is_missing(messages: &str, device: &Device, context: &Context<'_>) -> bool {
        messages.contains("Unable to detect device type")
            && !host::under(context.sysroot, Path::new(&device.path)).exists()
    }

    fn judge(&self, judge: &Judge<'_>, report: &mut Report, device: &Device, output: &Output, context: &Context<'_>) {
        let name = device.name();
        let (numbers, model) = (output.numbers(), output.model());
        let messages = excerpt(&output.messages());
        // The lowest three bits of the exit status: the command line, the device, a command to it.
        let failed_to_open = output.smartctl.exit_status & 0b11 != 0;
        if failed_to_open && numbers.is_empty() && output.health().is_none() {
            let (state, text) = if messages.to_lowercase().contains("standby") && !self.wake {
                (State::Okay, "it sleeps".to_owned())
            } else if messages.contains("Permission denied") || messages.contains("Operation not permitted") {
                (State::Unknown, format!("{messages}; {HINT}"))
            } else if messages.contains("No such") || Self::is_missing(&messages, device, context) {
                (State::Bad, format!("there is no such disk ({messages})"))
            } else {
                (State::Unknown, format!("it cannot be asked: {messages}"))
            };
            return report.find(state, format!("{}: {text}", device.shown()));
        }
        if output.health().is_none() && numbers.is_empty() {
            let text = if messages.is_empty() { "it has no SMART" } else { &messages };
            return report
                .find(State::Unknown, format!("{}: it says nothing about its health: {text}", device.shown()));
        }
        let mut values: Vec<(&str, Value<'_>)> =
            numbers.iter().map(|(label, value)| (*label, Value::Number(*value))).collect();
        values.extend(output.health().map(|health| ("health", health.into())));
        values.extend(output.self_test().map(|self_test| ("self_test", self_test.into())));
        values.push(("model", Value::Text(&model)));
        judge.item(report, &name, &values, || summary(output, &numbers, &model));
    }
}

const HINT: &str = "smartctl must run as root: let it be started by sudo (`command: [/usr/bin/sudo, -n, /usr/sbin/smartctl]`), or give monchero the \
                    capabilities CAP_SYS_RAWIO and, for NVMe, CAP_SYS_ADMIN";

fn summary(output: &Output, numbers: &[(&str, f64)], model: &str) -> String {
    let number = |wanted: &str| numbers.iter().find(|(label, _)| *label == wanted).map(|(_, value)| *value);
    let parts = [
        (!model.is_empty()).then(|| escape_controls(model)),
        output.health().map(str::to_owned),
        number("temperature").map(|value| format!("{} C", trim(value))),
        number("wear").map(|value| format!("{} worn", human(value, &Unit::PERCENT))),
        number("reallocated").map(|value| format!("{} reallocated", trim(value))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Waits for all futures at the same time.
async fn all<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, answer) in futures.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                *answer = Some(value);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}
