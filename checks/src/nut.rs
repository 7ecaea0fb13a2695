//! `nut`: the UPSes of a server of Network UPS Tools.

mod client;
mod status;
mod tell;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::time::Duration;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::metric::MAX_METRICS;
use monchero_core::{CheckError, Invalid, Metric, Report, Secret, State, Thresholds, duration, order};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::client::{Client, Trouble};
use self::status::{Circumstances, Verdict};
use self::tell::{describe, is_known, meaning, summary, watts};
use self::variables::FIELDS;
use crate::net::{Address, Deadline, Family, TlsSettings};
use crate::settings::{OneOrMore, excerpt};

const LIMITS: &[Limit] = &[
    Limit { field: "battery.charge", warning: "< 50%", bad: "< 20%" },
    Limit { field: "ups.load", warning: "> 90%", bad: "> 100%" },
    Limit { field: "ups.temperature", warning: "> 50", bad: "" },
];

/// The most UPSes of one server: several times what anybody has on one host.
const MAX_UPSES: usize = 100;

/// When to look again at what was seen once.
const CONFIRM: Duration = Duration::from_secs(5);
/// How often to look while a UPS is on battery: things move fast then.
const ON_BATTERY: Duration = Duration::from_secs(15);
/// Without memory there is no earlier look; the second one follows so soon. Drivers look at their UPS every two seconds.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What the UPSes of a server of Network UPS Tools (`upsd`) say: where the power comes from, for how long the battery lasts, and every
/// variable that their drivers know.
///
/// The words of `ups.status` are judged like this; `status` says otherwise for single ones:
///
/// - `OL`: on line power; okay
/// - `OB`: on battery; warning
/// - `LB`: battery low; bad: together with `OB` at once, alone when a second look confirms it
/// - `FSD`: a forced shutdown has begun; bad
/// - `OVER`: overloaded; bad
/// - `RB`: the battery must be replaced; warning, when a second look confirms it
/// - `OFF`: switched off, feeds nothing; warning, when a second look confirms it
/// - `BYPASS`: on bypass, protects nothing; warning
/// - `ALARM`: raises an alarm; the message has its text; warning
/// - `HB`: battery charged too high; warning
/// - `CAL`, `TEST`: calibrates or tests its battery: being on battery, a low battery and its charge and runtime are no problem then; okay
/// - `CHRG`, `DISCHRG`, `TRIM`, `BOOST`, `ECO`, any other: shown; okay
///
/// The second look follows within 5 seconds. While a UPS is on battery it is looked at every 15 seconds.
///
/// Lost communication is unknown, never an outage: when the server cannot be reached, when a driver is not connected
/// (`DRIVER-NOT-CONNECTED`), or when what it has is stale (`DATA-STALE`, twice in a row; the state stays as it was until then). No values
/// are shown then. A UPS in `ups` that the server does not know is bad.
///
/// A variable is a field by its own name, as `upsc` lists them; those that are numbers are metrics. Variables whose names contain `serial`,
/// `date`, `version` and the like and those of the `driver` are texts. When more than 256 metrics come together, the ones of the table
/// below come first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nut {
    /// The host on which `upsd` runs, and the port if it is not the usual one, 3493: `ups.example.org`, `10.0.0.1:13493`. Default:
    /// `localhost`.
    #[serde(default = "localhost")]
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// The UPSes to look at: one name or a list, as they stand in `ups.conf`. Default: all that the server lists.
    ups: Option<OneOrMore<String>>,
    /// A user of `upsd.users`; needs `password`. Reading needs none unless the server was told otherwise, and `upsd` itself looks at
    /// the password only when something is changed.
    user: Option<String>,
    /// The user's password.
    password: Option<Secret>,
    /// Whether TLS is asked for (`STARTTLS`): `true`, or a map of settings (`server_name`, `ca`, `verify`). A server that does not
    /// offer it is unknown; nothing is said in clear then. Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// What single words of `ups.status` mean: a map from words to states, as in `{ OB: bad, BYPASS: okay }`. Words that must be
    /// confirmed still are.
    #[serde(default)]
    status: BTreeMap<String, State>,
    /// Which UPSes are looked at, by name or by any of their fields: `{ ups.model: "*3000*" }`. Default: all.
    #[serde(default)]
    only: Filter,
    /// Which UPSes are left out, written as `only` is.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `battery.charge`; a map has ranges or texts by the name of the variable. Without a
    /// word about them: `battery.charge` below 50%, `ups.load` above 90%, `ups.temperature` above 50. A variable that stands here and
    /// that no UPS has is unknown.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them: `battery.charge` below 20%, `ups.load` above 100%.
    #[serde(default)]
    bad: Thresholds,
    /// The variables for which the user wrote a limit: made by `validate`.
    #[serde(skip)]
    named: BTreeSet<String>,
}

fn localhost() -> Address {
    Address::from_str("localhost").unwrap_or_else(|_| unreachable!("this is a host"))
}

/// The port that IANA gave to it.
const PORT: u16 = 3493;

/// Whether a name of a UPS can stand in a command as it is.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:+".contains(c))
}

impl CheckKind for Nut {
    const NAME: &'static str = "nut";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: ups.example.org, ups: rack, bad: { battery.runtime: \"< 5m\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        for name in self.ups.iter().flat_map(|names| &names.0) {
            if !is_name(name) {
                return Err(Invalid::at("ups", format!("`{}` is no name of a UPS", excerpt(name))));
            }
        }
        if self.ups.as_ref().is_some_and(|names| names.0.is_empty() || names.0.len() > MAX_UPSES) {
            return Err(Invalid::at("ups", format!("a check looks at 1 to {MAX_UPSES} UPSes")));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(Invalid::at("user", "`user` and `password` go together"));
        }
        let texts = self.user.as_deref().into_iter().chain(self.password.as_ref().map(Secret::reveal));
        if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err(Invalid::at("user", "neither `user` nor `password` can hold control characters or line ends"));
        }
        if let Some(word) = self
            .status
            .keys()
            .find(|word| word.is_empty() || word.contains(|c: char| c.is_lowercase() || c.is_whitespace()))
        {
            return Err(Invalid::at("status", format!("`{word}` is no word of a status: they are written like `OB`")));
        }
        if let Some(tls) = &self.tls {
            tls.validate().map_err(|why| ("tls.server_name", why))?;
        }
        self.validate_fields()
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let memory: Memory = context.recall().unwrap_or_default();
        let deadline = Deadline::of(context);
        let unable = |why: String| CheckError::Unable(format!("{why}; {}", memory.last_seen(context)));
        let mut upses = self.read(deadline).await.map_err(unable)?;
        // Whatever must be seen twice is asked for twice at once when there was no look before.
        if context.memory.is_none() && upses.iter().any(|ups| self.is_doubtful(ups)) {
            let second = SECOND_LOOK.min(deadline.left() / 2);
            tokio::time::sleep(second).await;
            let first = self.first_look(context, &upses);
            upses = self.read(deadline).await.map_err(unable)?;
            return Ok(self.report(context, &first, &upses));
        }
        Ok(self.report(context, &memory, &upses))
    }
}

/// A UPS and what the server says of it: its variables, or the word with which it refuses.
struct Ups {
    name: String,
    answer: Result<BTreeMap<String, String>, String>,
}

impl Ups {
    fn value(&self, variable: &str) -> &str {
        self.answer.as_ref().ok().and_then(|variables| variables.get(variable)).map_or("", |value| value.trim())
    }
}

/// What one run tells the next.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    upses: BTreeMap<String, Seen>,
}

/// What was seen of a UPS.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    /// When it last answered, in seconds since 1970.
    at: i64,
    /// What that meant.
    state: State,
    /// The words of its status.
    words: Vec<String>,
    /// Since when it has been on battery, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_battery: Option<i64>,
    /// Whether it had no fresh data when last asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

impl Memory {
    /// What is known of UPSes that cannot be asked.
    fn last_seen(&self, context: &Context<'_>) -> String {
        let on_battery: Vec<&str> =
            self.upses.iter().filter(|(_, seen)| seen.on_battery.is_some()).map(|(name, _)| name.as_str()).collect();
        let nothing = "so nothing is known of the power";
        match self.upses.values().map(|seen| seen.at).max() {
            Some(at) if !on_battery.is_empty() => {
                let ago = duration::human(since(at, context));
                format!("{nothing}; when last seen, {ago} ago, on battery: {}", on_battery.join(", "))
            }
            _ => nothing.to_owned(),
        }
    }
}

/// How long ago a moment was; no time at all if the clock was set back.
fn since(at: i64, context: &Context<'_>) -> Duration {
    Duration::from_secs(u64::try_from(context.now.as_second().saturating_sub(at)).unwrap_or(0))
}

impl Nut {
    /// Names with a dot may be variables that only the driver of some UPS knows.
    fn validate_fields(&mut self) -> Result<(), Invalid> {
        let limited: BTreeSet<String> = order::tree(self.warning.names().chain(self.bad.names()).map(str::to_owned));
        let filtered = self.only.names().chain(self.except.names()).map(str::to_owned);
        let names: BTreeSet<String> = order::tree(limited.iter().cloned().chain(filtered));
        let mut fields = FIELDS.to_vec();
        let is_new = |name: &&String| name.contains('.') && FIELDS.iter().all(|field| field.name != **name);
        fields.extend(names.iter().filter(is_new).map(|name| variables::field(name)));
        self.only.validate("only", &fields)?;
        self.except.validate("except", &fields)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, &fields, LIMITS)?;
        self.named = limited;
        Ok(())
    }

    /// Asks the server for everything.
    async fn read(&self, deadline: Deadline) -> Result<Vec<Ups>, String> {
        let peer = &self.address.peer(PORT);
        let login = self.user.as_deref().zip(self.password.as_ref());
        let lost = |doing: &'static str| {
            move |trouble: Trouble| match trouble {
                Trouble::Lost(why) => why,
                Trouble::Refused(word) => format!("{peer} refuses {doing}: {}", meaning(&word)),
            }
        };
        let open = Client::open(peer, self.family, self.tls.as_ref(), login, deadline);
        let mut client = open.await.map_err(lost("the login"))?;
        let names: Vec<String> = if let Some(names) = &self.ups {
            names.0.clone()
        } else {
            let listed = client.list("UPS").await.map_err(lost("the list of its UPSes"))?;
            listed.into_iter().filter_map(|entry| entry.into_iter().next()).collect()
        };
        if names.len() > MAX_UPSES {
            return Err(format!(
                "{peer} has {} UPSes, a check looks at {MAX_UPSES}: name those that are meant in `ups`",
                names.len()
            ));
        }
        let mut upses = Vec::new();
        for name in names {
            if !is_name(&name) {
                return Err(format!("{peer} has a UPS named `{}`, which cannot be asked for", excerpt(&name)));
            }
            let answer = match client.list(&format!("VAR {name}")).await {
                Ok(entries) => Ok(order::tree(entries.into_iter().filter_map(pair))),
                Err(Trouble::Refused(word)) => Err(word),
                Err(Trouble::Lost(why)) => return Err(why),
            };
            upses.push(Ups { name, answer });
        }
        client.close().await;
        Ok(upses)
    }

    /// Whether one look is not enough.
    fn is_doubtful(&self, ups: &Ups) -> bool {
        match &ups.answer {
            Ok(_) => !self.verdict(ups, None, 0).to_confirm.is_empty(),
            Err(word) => word == "DATA-STALE",
        }
    }

    fn verdict(&self, ups: &Ups, before: Option<&Seen>, now: i64) -> Verdict {
        let on_battery = before.and_then(|seen| seen.on_battery).map_or(0, |since| now.saturating_sub(since).max(0));
        status::judge(
            ups.value("ups.status"),
            &self.status,
            Circumstances {
                test: ups.value("ups.test.result"),
                alarm: ups.value("ups.alarm"),
                on_battery,
                before: before.map_or(&[], |seen| seen.words.as_slice()),
            },
        )
    }

    /// What is remembered of a look that no other came before.
    fn first_look(&self, context: &Context<'_>, upses: &[Ups]) -> Memory {
        let at = context.now.as_second();
        let seen = upses.iter().map(|ups| {
            let verdict = self.verdict(ups, None, at);
            let state = verdict.state.unwrap_or(State::Unknown);
            let seen = Seen { at, state, words: verdict.words, on_battery: None, stale: ups.answer.is_err() };
            (ups.name.clone(), seen)
        });
        Memory { upses: order::tree(seen) }
    }

    fn report(&self, context: &Context<'_>, memory: &Memory, upses: &[Ups]) -> Report {
        let mut report = context.report();
        let mut next = Memory::default();
        let mut missing = self.named.clone();
        let filter = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for ups in upses {
            let before = memory.upses.get(&ups.name);
            let seen = match &ups.answer {
                Ok(variables) => {
                    missing.retain(|name| !is_known(name, variables));
                    self.judge(&mut report, context, ups, variables, before)
                }
                Err(word) if before.is_some() || filter.wants(&ups.name, &[]) => {
                    refused(&mut report, context, ups, word, before)
                }
                Err(_) => None,
            };
            next.upses.extend(seen.map(|seen| (ups.name.clone(), seen)));
        }
        for name in missing.iter().filter(|_| upses.iter().any(|ups| ups.answer.is_ok())) {
            report.find(State::Unknown, format!("no UPS says its {name}, for which there is a limit"));
        }
        filter.end(&mut report, "UPS");
        if report.metrics.len() > MAX_METRICS {
            let rank = |label: &str| {
                FIELDS.iter().position(|field| label.ends_with(&format!(" {}", field.name))).unwrap_or(FIELDS.len())
            };
            let is_free = |metric: &Metric| metric.warning.is_none() && metric.bad.is_none();
            order::sort_by_key(&mut report.metrics, |metric| (is_free(metric), rank(&metric.label)));
        }
        report.remember(&next);
        report
    }

    /// Judges what a UPS says. It is forgotten if it is not one of those that are meant.
    fn judge(
        &self,
        report: &mut Report,
        context: &Context<'_>,
        ups: &Ups,
        variables: &BTreeMap<String, String>,
        before: Option<&Seen>,
    ) -> Option<Seen> {
        let now = context.now.as_second();
        let verdict = self.verdict(ups, before, now);
        let began = verdict.on_battery.then(|| before.and_then(|seen| seen.on_battery).unwrap_or(now).min(now));
        let span = began.map(|began| since(began, context));
        let has_status = variables.contains_key("ups.status");
        let derived =
            [("on_battery", has_status.then(|| span.unwrap_or_default().as_secs_f64())), ("watts", watts(variables))];
        let mut values: Vec<(&str, Value<'_>)> =
            derived.iter().filter_map(|(name, value)| Some((*name, Value::Number((*value)?)))).collect();
        let is_new = |name: &&String| FIELDS.iter().all(|field| field.name != **name);
        let mut fields = FIELDS.to_vec();
        fields.extend(variables.keys().filter(is_new).map(|name| variables::field(name)));
        for (name, text) in variables {
            let is_number = fields.iter().any(|field| field.name == name && field.unit.is_some());
            match variables::number(name, text) {
                Some(number) => values.push((name, Value::Number(number))),
                // A number that cannot be read is no value, rather than an invented one.
                None if is_number => {}
                None => values.push((name, Value::Text(text))),
            }
        }
        let silent = |name: &str| {
            name.starts_with("battery.charge") || name.starts_with("battery.runtime") || name == "on_battery"
        };
        let calm = verdict.is_test.then(|| (self.warning.without(&fields, silent), self.bad.without(&fields, silent)));
        let (warning, bad) = calm.as_ref().map_or((&self.warning, &self.bad), |(warning, bad)| (warning, bad));
        let judge = Judge::new(&fields, warning, bad).filtered(&self.only, &self.except);
        let is_meant = judge.wants(&ups.name, &values);
        let state = if is_meant { status_finding(report, ups, &verdict, span, variables) } else { State::Okay };
        judge.item(report, &ups.name, &values, || {
            // A problem of the status was told already, with all of this.
            if state.is_problem() { verdict.text.clone() } else { summary(&verdict, span, variables) }
        });
        if !is_meant {
            return None;
        }
        if !verdict.to_confirm.is_empty() {
            again(report, CONFIRM);
        } else if verdict.on_battery && !verdict.is_test {
            again(report, ON_BATTERY);
        }
        describe(report, ups);
        Some(Seen { at: now, state, words: verdict.words, on_battery: began, stale: false })
    }
}

/// What the status means, said if it is a problem.
fn status_finding(
    report: &mut Report,
    ups: &Ups,
    verdict: &Verdict,
    span: Option<Duration>,
    variables: &BTreeMap<String, String>,
) -> State {
    let Some(state) = verdict.state else {
        // What measures only, such as a PDU or a sensor, has no such status.
        if !matches!(ups.value("device.type"), "" | "ups") && ups.value("ups.status").is_empty() {
            return State::Okay;
        }
        let said = match ups.value("ups.status") {
            "" => "has no ups.status".to_owned(),
            status => format!("says `{}`", excerpt(status)),
        };
        report.find(State::Unknown, format!("{}: its driver {said}: nothing is known of its power", ups.name));
        return State::Unknown;
    };
    if state.is_problem() {
        report.find(state, format!("{}: {}", ups.name, summary(verdict, span, variables)));
    }
    state
}

fn again(report: &mut Report, span: Duration) {
    report.again = Some(report.again.map_or(span, |other| other.min(span)));
}

/// The name and the value of a variable.
fn pair(entry: Vec<String>) -> Option<(String, String)> {
    let mut entry = entry.into_iter();
    entry.next().zip(entry.next())
}

/// What it means that the server does not speak of a UPS.
fn refused(report: &mut Report, context: &Context<'_>, ups: &Ups, word: &str, before: Option<&Seen>) -> Option<Seen> {
    let says = meaning(word);
    if word == "UNKNOWN-UPS" {
        report.find(State::Bad, format!("{}: the server knows no such UPS ({word})", ups.name));
        return None;
    }
    let is_stale = word == "DATA-STALE";
    // One stale answer happens whenever a driver is late for a moment.
    if is_stale && let Some(seen) = before.filter(|seen| !seen.stale) {
        again(report, CONFIRM);
        let words = seen.words.join(" ");
        report.find(seen.state, format!("{}: {says}, seen once, to be confirmed; it said {words} before", ups.name));
        return Some(Seen { stale: true, ..seen.clone() });
    }
    let known = match before {
        Some(seen) if seen.on_battery.is_some() => {
            format!("; when last seen, {} ago, it was on battery", duration::human(since(seen.at, context)))
        }
        _ => String::new(),
    };
    report.find(State::Unknown, format!("{}: {says}{known}", ups.name));
    before.map(|seen| Seen { stale: is_stale, ..seen.clone() })
}
