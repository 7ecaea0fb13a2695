//! `ping`: whether hosts answer on the network layer, how fast and how reliably.

mod echo;

use std::time::Duration;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;

use self::echo::{Echoes, Plan, ping};
use crate::net::{Deadline, Failure, Family, Peer};
use crate::settings::{OneOrMore, Size};

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The round trip, the mean of all echoes that came back."),
    Field::number("loss", "%", "The share of echoes that did not come back."),
    Field::number("fastest", "s", "The shortest round trip."),
    Field::number("slowest", "s", "The longest round trip."),
    Field::number("jitter", "s", "By how much one round trip differs from the next, the mean of all."),
];

const LIMITS: &[Limit] = &[Limit { field: "loss", warning: "> 20%", bad: "> 60%" }];

/// How many hosts one check may have: each has a socket while it runs.
const MAX_HOSTS: usize = 64;

/// How many echoes one run may send to a host.
const MAX_COUNT: u16 = 1_000;

/// How far apart echoes are sent at least: less would be a flood.
const SHORTEST_SPACING: Duration = Duration::from_millis(10);

/// The least and the most bytes that an echo carries behind its head: an echo is recognised by the first, and the last is what a
/// datagram of IPv4 has room for.
const SIZES: std::ops::RangeInclusive<usize> = 8..=65_507;

/// Whether hosts answer ICMP echoes, how fast and how many of them.
///
/// All hosts are asked at once. A host that answers none of the echoes, or whose name cannot be resolved, is bad. monchero needs a
/// permission for this: the sysctl `net.ipv4.ping_group_range` must include its group, or it needs the capability `CAP_NET_RAW`; without
/// either, the result is unknown and says so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ping {
    /// The name or address of the host, or a list of up to 64.
    host: OneOrMore<String>,
    /// Which addresses of the hosts are used: `any`, `ipv4` or `ipv6`. Default: `any`; of several addresses, the one that the system
    /// prefers.
    #[serde(default)]
    family: Family,
    /// How many echoes are sent to each host: `1` to `1000`. Default: `5`.
    #[serde(default = "five")]
    count: u16,
    /// The time between two of them, at least `10ms`. Default: `200ms`.
    #[serde(default = "a_fifth", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    spacing: Duration,
    /// How many bytes each carries: from 8B to 65507B. Default: `56B`.
    #[serde(default = "usual_size")]
    size: Size,
    /// When it is a warning. A single range is about `time`, the mean round trip; a map has ranges for `time`, `fastest`, `slowest`,
    /// `jitter` (seconds) and `loss` (percent). Without a word about it, `loss` is a warning above 20%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, `loss` is bad above 60%.
    #[serde(default)]
    bad: Thresholds,
}

fn five() -> u16 {
    5
}

fn a_fifth() -> Duration {
    Duration::from_millis(200)
}

fn usual_size() -> Size {
    Size(56)
}

impl CheckKind for Ping {
    const NAME: &'static str = "ping";
    const LOOKS: Looks = Looks::At("host");
    const EXAMPLE: &'static str = "{ host: [gateway.example.org, 192.0.2.1], warning: { time: \"> 50ms\", loss: \"> 0%\" }, bad: { loss: \"> 50%\" } }";
    const SHORT_FOR: Option<&'static str> = Some("host");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let hosts = &self.host.0;
        if hosts.is_empty() || hosts.len() > MAX_HOSTS {
            return Err(Invalid::at("host", format!("a check pings 1 to {MAX_HOSTS} hosts, not {}", hosts.len())));
        }
        for (index, host) in hosts.iter().enumerate() {
            if Peer::of(host.trim(), 1).is_none() {
                let why = "is no name of a host and no address, such as `db.example.org`, `10.0.0.1` or `::1`";
                return Err(Invalid::at("host", format!("`{host}` {why}")));
            }
            if hosts.iter().take(index).any(|other| other == host) {
                return Err(Invalid::at("host", format!("`{host}` stands here twice")));
            }
        }
        if !(1..=MAX_COUNT).contains(&self.count) {
            return Err(Invalid::at("count", format!("1 to {MAX_COUNT} echoes can be sent")));
        }
        if self.spacing < SHORTEST_SPACING {
            return Err(Invalid::at("spacing", "echoes are sent at least 10ms apart".to_owned()));
        }
        if !SIZES.contains(&self.size.0) {
            return Err(Invalid::at("size", format!("an echo carries {} to {} bytes", SIZES.start(), SIZES.end())));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let sending = self.spacing * u32::from(self.count - 1);
        if sending >= deadline.limit() {
            return Err(CheckError::Unable(format!(
                "sending {} echoes every {} takes {}, longer than the run may take: raise `timeout`, or lower `count` or `spacing`",
                self.count,
                monchero_core::duration::human(self.spacing),
                monchero_core::duration::human(sending)
            )));
        }
        let plan = Plan { count: self.count, spacing: self.spacing, size: self.size.0 };
        let mut pings = JoinSet::new();
        for (index, host) in self.host.0.iter().enumerate() {
            // The port has no meaning here.
            let (peer, family) = (Peer { host: host.clone(), port: 1 }, self.family);
            pings.spawn(async move { (index, ping(&peer, family, plan, deadline).await) });
        }
        let mut answers = pings.join_all().await;
        order::sort_by_key(&mut answers, |(index, _)| *index);
        let mut report = context.report();
        for (host, (_, answer)) in self.host.0.iter().zip(answers) {
            match answer {
                Ok(echoes) => self.judge(&mut report, host, &echoes),
                Err(Failure::Bad(why)) => report.find(State::Bad, why),
                // A permission that is missing is missing for all hosts, and is said once.
                Err(Failure::Unable(why)) if report.findings.iter().any(|finding| finding.text == why) => {}
                Err(Failure::Unable(why)) => report.find(State::Unknown, why),
            }
        }
        Ok(report)
    }
}

impl Ping {
    fn judge(&self, report: &mut Report, host: &str, echoes: &Echoes) {
        let trips: Vec<f64> = echoes.trips.iter().flatten().map(Duration::as_secs_f64).collect();
        let (sent, came) = (echoes.trips.len(), trips.len());
        let loss = 100.0 * (sent - came) as f64 / sent.max(1) as f64;
        if came == 0 {
            let why = echoes.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let to = if echoes.address == host { String::new() } else { format!(" ({})", echoes.address) };
            report.find(State::Bad, format!("{host}{to} answers none of {sent} echoes{why}"));
            // Said already: what is left is the metric.
            let silent = Thresholds::default();
            Judge::new(FIELDS, &silent, &silent).item(report, host, &[("loss", loss)], String::new);
            return;
        }
        let differences: Vec<f64> = trips.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let time = mean(&trips);
        let values = [
            ("time", time),
            ("loss", loss),
            ("fastest", trips.iter().copied().fold(f64::INFINITY, f64::min)),
            ("slowest", trips.iter().copied().fold(0.0, f64::max)),
            ("jitter", mean(&differences)),
        ];
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, host, &values, || {
            format!("{came} of {sent} echoes in {}, {}% lost", human(time, &Unit::SECONDS), trim(loss))
        });
    }
}
