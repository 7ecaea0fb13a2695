//! `time`: how far the host's clock is off.

use std::path::Path;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::duration;
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;
use zbus::Variant;

use crate::bus::{Bus, Refusal, SYSTEM};
use crate::host;
use crate::net::{Deadline, Failure, Family};
use crate::settings::OneOrMore;
use crate::sntp::{Answer, Server, Wall, ask, describe_offset};

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "offset",
        "s",
        "How far the clock is off, ahead or behind, without a sign; the median of the servers.",
    ),
    Field::number("spread", "s", "How far the servers are apart from each other."),
    Field::number("servers", "", "How many of the servers told the time."),
    Field::text("synchronised", "`yes` or `no`, as the kernel of this host says; only without `servers`."),
];
/// What servers tell, and what the kernel says.
const TOLD: (&[Field<'static>], &[Field<'static>]) = FIELDS.split_at(3);

const LIMITS: &[Limit] = &[Limit { field: "offset", warning: "> 500ms", bad: "> 2s" }];
const KERNEL_LIMITS: &[Limit] = &[Limit { field: "synchronised", warning: "no", bad: "" }];

/// Who says over the bus what the kernel thinks of the clock. The call that asks the kernel itself has no safe form.
const TIMEDATE: &str = "org.freedesktop.timedate1";

/// How many servers one check asks at most: four are enough to see which one is wrong.
const MAX_SERVERS: usize = 16;

/// How far the clock of this host is off, as time servers see it (NTP, one question to each), or whether the kernel of this host calls its
/// clock synchronised.
///
/// Without `servers`, no server is asked: `timedated` of systemd says over the system bus whether the kernel holds the clock for synchronised, as a
/// time service on this host (`systemd-timesyncd`, `chronyd`, `ntpd`) tells it. The kernel takes that back when it is told nothing for so
/// long that the clock may be 16 s off. How far it is off in truth can be seen with `servers` only.
///
/// The median of the servers counts, so with three or more of them one that is wrong changes nothing. Servers that do not answer, or that say
/// themselves that they do not know the time, do not count and stand in the further output; if none is left, the check is unknown.
/// Nothing is set or corrected. The offset is exact to about a millisecond, and to half of
/// the time that a packet needs there and back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    /// The time servers: a name or an address, or a list of up to 16, each with a port if that is not 123. Take those that the host is
    /// set by, or others that you may ask; who watches many hosts takes servers of their own. Default: none, and the kernel of this host is asked.
    servers: Option<OneOrMore<Server>>,
    /// Which addresses of the servers are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// When it is a warning. A single range is about `offset`; a map has ranges for `offset` and `spread` (seconds) and for `servers`
    /// (how many told the time: `< 2`). Without a word about it, `offset` is a warning above 500 ms. Without `servers` it is about `synchronised`, and `no`
    /// is a warning.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, `offset` is bad above 2 s.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Time {
    const NAME: &'static str = "time";
    const LOOKS: Looks = Looks::At("servers");
    const EXAMPLE: &'static str = "{ servers: [ntp1.example.org, ntp2.example.org, ntp3.example.org], warning: 100ms, bad: { offset: 1s, servers: \"< 2\" } }";
    const SHORT_FOR: Option<&'static str> = Some("servers");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let Some(OneOrMore(servers)) = &self.servers else {
            return Thresholds::settle(&mut self.warning, &mut self.bad, TOLD.1, KERNEL_LIMITS);
        };
        let servers = servers.len();
        if servers == 0 || servers > MAX_SERVERS {
            return Err(Invalid::at("servers", format!("1 to {MAX_SERVERS} servers are asked, not {servers}")));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, TOLD.0, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let Some(OneOrMore(servers)) = &self.servers else { return self.judge_kernel(context).await };
        let (wall, deadline, family) = (Wall::new(context.now), Deadline::of(context), self.family);
        let mut questions = JoinSet::new();
        for (index, server) in servers.iter().cloned().enumerate() {
            questions.spawn(async move {
                let answer = ask(&server, family, wall, deadline).await;
                (index, line(&server, &answer), answer)
            });
        }
        let mut answers = questions.join_all().await;
        order::sort_by_key(&mut answers, |(index, ..)| *index);
        let lines: Vec<String> = answers.iter().map(|(_, line, _)| line.clone()).collect();
        let offsets: Vec<f64> = answers
            .into_iter()
            .filter_map(|(.., answer)| answer.ok().filter(Answer::is_synchronised))
            .map(|answer| answer.offset)
            .collect();
        let mut report = context.report();
        self.judge(&mut report, offsets, &lines)?;
        report.output = lines.join("\n");
        Ok(report)
    }
}

impl Time {
    /// Without servers: what the kernel thinks.
    async fn judge_kernel(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let unable = |why: String| {
            CheckError::Unable(format!(
                "asking `{TIMEDATE}` over the bus at `{SYSTEM}` whether the clock is synchronised: {why}; where nobody says so, name `servers`"
            ))
        };
        let path = host::under(context.sysroot, Path::new(SYSTEM));
        let look = async {
            let bus = Bus::connect(&path).await?;
            let property = bus.property(TIMEDATE, "/org/freedesktop/timedate1", TIMEDATE, "NTPSynchronized").await;
            property.map_err(|(Refusal::Refused(why) | Refusal::Broken(why))| why)
        };
        let reply = match tokio::time::timeout(deadline.left(), look).await {
            Ok(reply) => reply.map_err(unable)?,
            Err(_) => return Err(unable(format!("no answer within {}", duration::human(deadline.limit())))),
        };
        let body = reply.body();
        let Ok(Variant::Bool(is_synchronised)) = body.deserialize::<Variant<'_>>() else {
            return Err(unable("it answers something else than yes or no".to_owned()));
        };
        let mut report = context.report();
        let values = [("synchronised", Value::Text(if is_synchronised { "yes" } else { "no" }))];
        Judge::new(TOLD.1, &self.warning, &self.bad).item(&mut report, "", &values, || {
            let not = if is_synchronised { "" } else { "not " };
            format!("the kernel calls the clock {not}synchronised")
        });
        Ok(report)
    }

    fn judge(&self, report: &mut Report, mut offsets: Vec<f64>, lines: &[String]) -> Result<(), CheckError> {
        order::sort_by(&mut offsets, f64::total_cmp);
        let (Some(first), Some(last), Some(offset)) = (offsets.first(), offsets.last(), median(&offsets)) else {
            return Err(CheckError::Unable(format!("no server told the time: {}", lines.join("; "))));
        };
        let (told, spread) = (offsets.len(), last - first);
        let values = [("offset", offset.abs()), ("spread", spread), ("servers", told as f64)];
        Judge::new(TOLD.0, &self.warning, &self.bad).item(report, "", &values, || {
            let apart = if told > 1 { format!(", {} apart", human(spread, &Unit::SECONDS)) } else { String::new() };
            let asked = lines.len();
            let plural = if asked == 1 { "" } else { "s" };
            format!("the clock is {}, by {told} of {asked} server{plural}{apart}", describe_offset(offset))
        });
        Ok(())
    }
}

/// The one in the middle, or the mean of the two that are.
fn median(sorted: &[f64]) -> Option<f64> {
    let above = sorted.get(sorted.len() / 2)?;
    let below = if sorted.len().is_multiple_of(2) { sorted.get(sorted.len() / 2 - 1)? } else { above };
    Some(f64::midpoint(*below, *above))
}

/// What one server said, for the further output.
fn line(server: &Server, answer: &Result<Answer, Failure>) -> String {
    match answer {
        Ok(answer) if !answer.is_synchronised() => format!("{server} is not synchronised itself"),
        Ok(answer) => format!(
            "{server}: the clock is {}, stratum {}, at most {} off itself",
            describe_offset(answer.offset),
            answer.stratum,
            human(answer.root_distance(), &Unit::SECONDS)
        ),
        Err(Failure::Bad(why) | Failure::Unable(why)) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_in_the_middle_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0]), Some(1.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[-1000.0, 0.1, 0.2]), Some(0.1));
    }
}
