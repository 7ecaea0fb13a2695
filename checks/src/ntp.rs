//! `ntp`: whether a time server is well.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::net::{Deadline, Family};
use crate::sntp::{Answer, Leap, Server, Wall, ask, describe_offset};

const FIELDS: &[Field<'static>] = &[
    Field::number("offset", "s", "How far the server's clock is from that of this host, without a sign."),
    Field::number("stratum", "", "How many steps the server is away from a clock of its own, which has 1."),
    Field::number("root_delay", "s", "How long a packet needs from the server to that clock and back."),
    Field::number("root_dispersion", "s", "How far the server may have drifted since it last compared, as it says."),
    Field::number("root_distance", "s", "The most that the server's time can be wrong, seen from here."),
    Field::number("time", "s", "How long the question needed there and back, without the server's own time."),
    Field::text("leap", "The leap second that is announced: `none`, `insert` or `delete`."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "offset", warning: "> 500ms", bad: "> 5s" },
    // Clients do not use a server beyond that (RFC 5905: 1 s, ntpd: 1.5 s).
    Limit { field: "root_distance", warning: "> 1s", bad: "> 1.5s" },
];

/// Whether a time server (NTP) answers, knows the time and is near enough to its source.
///
/// A server that does not answer, that refuses this host or asks for fewer questions (a kiss-o'-death), or that is not synchronised is bad. Its
/// time is compared with the clock of this host: watch that with the kind `time`, and with other servers than this one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ntp {
    /// The server: a name or an address, with a port if that is not 123.
    server: Server,
    /// Which addresses of the server are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// When it is a warning. A single range is about `offset`; a map has ranges for `offset`, `root_delay`, `root_dispersion`,
    /// `root_distance` and `time` (seconds), `stratum`, and a text for `leap` (`!none`). Without a word about them, `offset` is a warning
    /// above 500 ms and `root_distance` above 1 s.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, `offset` is bad above 5 s and `root_distance` above 1.5 s.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Ntp {
    const NAME: &'static str = "ntp";
    const LOOKS: Looks = Looks::At("server");
    const EXAMPLE: &'static str = "{ server: ntp1.example.org, warning: { offset: 100ms, stratum: \"> 3\" } }";
    const SHORT_FOR: Option<&'static str> = Some("server");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        match ask(&self.server, self.family, Wall::new(context.now), Deadline::of(context)).await {
            Ok(answer) => Ok(self.judge(context.report(), &answer)),
            Err(failure) => failure.into_answer(),
        }
    }
}

impl Ntp {
    fn judge(&self, mut report: Report, answer: &Answer) -> Report {
        if !answer.is_synchronised() {
            let Answer { stratum, leap, .. } = answer;
            let why =
                if *leap == Leap::Unsynchronised { "as it says".to_owned() } else { format!("stratum {stratum}") };
            report.find(
                State::Bad,
                format!(
                    "{} is not synchronised ({why}): it has lost its own sources, and no client uses it",
                    self.server
                ),
            );
            return report;
        }
        let values = [
            ("offset", Value::Number(answer.offset.abs())),
            ("stratum", Value::Number(f64::from(answer.stratum))),
            ("root_delay", Value::Number(answer.root_delay)),
            ("root_dispersion", Value::Number(answer.root_dispersion)),
            ("root_distance", Value::Number(answer.root_distance())),
            ("time", Value::Number(answer.delay)),
            ("leap", Value::Text(answer.leap.as_str())),
        ];
        Judge::new(FIELDS, &self.warning, &self.bad).item(&mut report, "", &values, || {
            let leap = match answer.leap {
                Leap::Insert => ", a leap second will be inserted at the end of the day (UTC)",
                Leap::Delete => ", a leap second will be left out at the end of the day (UTC)",
                Leap::None | Leap::Unsynchronised => "",
            };
            format!(
                "{}: stratum {} ({}), the clock of this host is {}, at most {} off{leap}",
                self.server,
                answer.stratum,
                answer.reference,
                describe_offset(answer.offset),
                human(answer.root_distance(), &Unit::SECONDS)
            )
        });
        report
    }
}
