//! `group`: one verdict over other checks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use monchero_core::check::{CheckKind, Context, Peer};
use monchero_core::items::{Field, Judge};
use monchero_core::{CheckError, Invalid, Report, State, StateType, Thresholds, hold, node, order, text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::settings::{OneOrMore, excerpt};

const FIELDS: &[Field<'static>] = &[
    Field::number("okay", "", "Members that are okay."),
    Field::number("warning", "", "Members that are a warning."),
    Field::number("unknown", "", "Members that are unknown."),
    Field::number("bad", "", "Members that are bad."),
    Field::number("total", "", "All members, also those that have not been looked at yet."),
];

/// How soon a group follows its members. Asking what they are costs less than starting the smallest plugin.
const FOLLOWS: Duration = Duration::from_secs(10);
/// How many members that are not okay are named in the message.
const MAX_NAMED: usize = 8;
/// How many are listed in the further output.
const MAX_LISTED: usize = 200;
/// The most patterns and labels of one group: each is compared with every check.
const MAX_PATTERNS: usize = 100;
/// The kinds of what monchero reports about itself.
const OWN: [(&str, &str); 2] = [("self", "self/"), ("config", "config/")];

/// One verdict over other checks, so that one alarm tells that a service is gone and not ten.
///
/// A group is as good as the members that it needs: with `need: all` it is in the state of the worst, with `need: any` in that of the best,
/// with `need: 2` in that of the second best. Only confirmed (hard) states count unless `soft` says otherwise. The message names the members that are not okay.
///
/// Members are all checks that fit one of `checks` and have all of `labels`. A pattern that fits no check makes the group unknown. A group
/// is never its own member, and patterns with `*` or `?` and labels never mean other groups: a group is a member of another if it is named there in full. Groups
/// that name each other, directly or by way of others, are refused: a problem of one would keep the other bad, and that the first, for ever. What
/// monchero reports about itself is meant by patterns that begin with `self/` or `config/`.
///
/// What members were found to be is confirmed, so the first bad result of a group is hard, whatever `retries` says (unless `soft` is
/// set). It follows its members within ten seconds, or at its `interval` if that is shorter.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The members: names or patterns with `*`, one or a list. A check's name covers its services and instances. Default: all checks, if
    /// there are `labels`.
    #[serde(default)]
    checks: Option<OneOrMore<String>>,
    /// Labels that each member has, with their values, in which `*` and `?` stand for any characters.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How many members must be okay: `all`, `any` (one of them), or a number. `0` leaves the verdict to `warning` and `bad`. Default:
    /// `all`.
    #[serde(default)]
    need: Need,
    /// What an unknown member counts as: `okay`, `warning`, `unknown` or `bad`. Default: `unknown`.
    #[serde(default = "unknown")]
    unknown: State,
    /// What a member counts as that has not been looked at yet. Default: `okay`, so that a new check is no alarm.
    #[serde(default = "okay")]
    pending: State,
    /// Whether problems of members count before they are confirmed. Then `retries` of the group count as for any check. Default: `false`.
    #[serde(default)]
    soft: bool,
    /// When it is a warning, by the number of members in a state: a single range is about `okay` (`"< 3"`), a map has ranges for `okay`,
    /// `warning`, `unknown`, `bad` and `total`. Beside `need`; the worse counts. Default: never.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
}

fn unknown() -> State {
    State::Unknown
}

fn okay() -> State {
    State::Okay
}

/// How many members must be okay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Need {
    #[default]
    All,
    Any,
    Number(usize),
}

impl<'de> Deserialize<'de> for Need {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Need;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`all`, `any` or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Need, E> {
                match text {
                    "all" => Ok(Need::All),
                    "any" => Ok(Need::Any),
                    number => number.parse().map(Need::Number).map_err(|_| {
                        E::custom(format!("`{}` is neither `all` nor `any` nor a number", excerpt(number)))
                    }),
                }
            }
        }
        // As a text, so that a number is taken as it is written.
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Need {
    fn schema_name() -> Cow<'static, str> {
        "Need".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "enum": ["all", "any"] }, { "type": "integer", "minimum": 0 }] })
    }
}

/// A member and what it counts as.
struct Member<'a> {
    peer: &'a Peer,
    counts: State,
}

impl CheckKind for Group {
    const NAME: &'static str = "group";
    const EXAMPLE: &'static str = "{ checks: [web-*, balancer], need: 2, bad: { bad: \"> 2\" } }";
    const SHORT_FOR: Option<&'static str> = Some("checks");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let patterns = self.patterns();
        if self.checks.is_some() && patterns.is_empty() || patterns.len() > MAX_PATTERNS {
            return Err(Invalid::at("checks", format!("a group has 1 to {MAX_PATTERNS} patterns")));
        }
        if patterns.iter().any(String::is_empty) {
            return Err(Invalid::at("checks", "an empty name is that of no check"));
        }
        if self.labels.len() > MAX_PATTERNS {
            return Err(Invalid::at("labels", format!("a group has at most {MAX_PATTERNS} labels")));
        }
        if patterns.is_empty() && self.labels.is_empty() {
            return Err(Invalid::at("", "a group has members: say which with `checks` or `labels`"));
        }
        self.warning.validate("warning", FIELDS)?;
        self.bad.validate("bad", FIELDS)
    }

    fn judges(&self) -> Vec<&str> {
        self.patterns().iter().map(String::as_str).filter(|pattern| !is_wild(pattern)).collect()
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let peers = context.peers.all().await;
        if peers.is_empty() {
            return Err(CheckError::Unable(
                "the states of other checks are not known here: a group is judged by the daemon".to_owned(),
            ));
        }
        let mut report = context.report();
        report.proven = !self.soft;
        report.again = Some(FOLLOWS);
        let mut members: Vec<Member<'_>> = peers
            .iter()
            .filter(|peer| self.has(peer, context.check))
            .map(|peer| Member { peer, counts: self.counts(peer) })
            .collect();
        order::sort_by(&mut members, |a, b| (a.counts, &a.peer.name).cmp(&(b.counts, &b.peer.name)));
        self.miss(&peers, context.check, &members, &mut report);
        self.judge(&members, &mut report);
        Ok(report)
    }
}

impl Group {
    fn patterns(&self) -> &[String] {
        self.checks.as_ref().map(|checks| checks.0.as_slice()).unwrap_or_default()
    }

    fn has(&self, peer: &Peer, own_name: &str) -> bool {
        let named = |pattern: &String| fits(pattern, peer);
        peer.name.as_str() != own_name
            && self.has_labels(peer)
            && if self.patterns().is_empty() { fits("*", peer) } else { self.patterns().iter().any(named) }
    }

    fn has_labels(&self, peer: &Peer) -> bool {
        let has = |(key, value): (&String, &String)| peer.labels.get(key).is_some_and(|found| text::glob(value, found));
        self.labels.iter().all(has)
    }

    fn counts(&self, peer: &Peer) -> State {
        match peer.state {
            None => self.pending,
            // A problem that is not confirmed yet came out of okay.
            Some(_) if peer.state_type == StateType::Soft && !self.soft => State::Okay,
            Some(State::Unknown) => self.unknown,
            Some(state) => state,
        }
    }

    /// What was asked for and is not there.
    fn miss(&self, peers: &[Peer], own_name: &str, members: &[Member<'_>], report: &mut Report) {
        for pattern in self.patterns() {
            let mut others = peers.iter().filter(|peer| peer.name.as_str() != own_name);
            if others.any(|peer| fits(pattern, peer)) {
                continue;
            }
            let names = peers.iter().map(|peer| peer.name.as_str()).filter(|name| *name != own_name);
            let hint = node::nearest(pattern, names).map_or_else(
                || "`monchero status` lists all checks".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            report.find(State::Unknown, format!("no other check fits `{}`; {hint}", excerpt(pattern)));
        }
        if members.is_empty() && report.findings.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            report.find(State::Unknown, format!("no check has the labels `{}`", excerpt(&labels.join(", "))));
        }
    }

    /// `members` are sorted, the best first.
    fn judge(&self, members: &[Member<'_>], report: &mut Report) {
        let needed = match self.need {
            Need::All => members.len(),
            Need::Any => 1,
            Need::Number(number) => number,
        };
        let said = summary(members);
        if needed > members.len() && !members.is_empty() {
            let text = format!("{needed} members are needed, and there are only {}", members.len());
            report.find(State::Unknown, text);
        }
        let verdict = needed.checked_sub(1).and_then(|last| members.get(last)).map(|member| member.counts);
        if let Some(verdict) = verdict.filter(|state| state.is_problem()) {
            let need = match self.need {
                Need::All => String::new(),
                Need::Any => ", and one is needed".to_owned(),
                Need::Number(number) => format!(", and {number} are needed"),
            };
            report.find(verdict, format!("{said}{need}"));
        }
        let count = |state: State| members.iter().filter(|member| seen(member) == Some(state)).count() as f64;
        let values = [
            ("okay", count(State::Okay)),
            ("warning", count(State::Warning)),
            ("unknown", count(State::Unknown)),
            ("bad", count(State::Bad)),
            ("total", members.len() as f64),
        ];
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || said);
        for member in members.iter().rev().filter(|member| member.peer.state != Some(State::Okay)).take(MAX_LISTED) {
            let _ = writeln!(report.output, "{}: {}", member.peer.name, word(member.peer));
        }
    }
}

/// The state in which a member is counted; none if it has none yet.
fn seen(member: &Member<'_>) -> Option<State> {
    let unconfirmed = member.peer.state_type == StateType::Soft && member.counts == State::Okay;
    member.peer.state.map(|state| if unconfirmed { State::Okay } else { state })
}

fn word(peer: &Peer) -> String {
    match (peer.state, peer.state_type) {
        (None, _) => "pending".to_owned(),
        (Some(state), StateType::Soft) => format!("{state}, not confirmed"),
        (Some(state), StateType::Hard) => state.to_string(),
    }
}

/// `3 of 5 are okay: db is bad, web-2 is a warning`.
fn summary(members: &[Member<'_>]) -> String {
    let fine = members.iter().filter(|member| seen(member) == Some(State::Okay)).count();
    let others: Vec<&Member<'_>> = members.iter().rev().filter(|member| seen(member) != Some(State::Okay)).collect();
    let named: Vec<String> =
        others.iter().take(MAX_NAMED).map(|member| format!("{} is {}", member.peer.name, word(member.peer))).collect();
    let mut out = match (members.len(), others.len()) {
        (0, _) => "there are no members".to_owned(),
        (all, 0) => format!("all {all} are okay"),
        (all, _) => format!("{fine} of {all} are okay: {}", named.join(", ")),
    };
    if others.len() > MAX_NAMED {
        let _ = write!(out, " and {} more are not", others.len() - MAX_NAMED);
    }
    out
}

/// Whether a pattern says more than one name. Such a pattern means no groups.
fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Whether a pattern means a check.
fn fits(pattern: &str, peer: &Peer) -> bool {
    let own = OWN.iter().find(|(kind, _)| *kind == peer.kind);
    hold::matches(pattern, peer.name.as_str())
        && (peer.kind != Group::NAME || !is_wild(pattern))
        && own.is_none_or(|(_, prefix)| pattern.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use monchero_core::check::{NoPeers, Peers};
    use monchero_core::program::{Program, RunEnd, RunError, Spawner};
    use monchero_core::report::{CheckResult, ServiceResult};
    use monchero_core::{BoxFuture, Name};

    use super::*;

    struct These(Vec<Peer>);

    impl Peers for These {
        fn all(&self) -> BoxFuture<'_, Vec<Peer>> {
            Box::pin(async { self.0.clone() })
        }
    }

    struct NoPrograms;

    impl Spawner for NoPrograms {
        fn run(&self, _: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
            unreachable!("a group starts nothing")
        }

        fn still_stuck(&self, _: i32) -> bool {
            false
        }

        fn containment(&self) -> &'static str {
            "none"
        }
    }

    /// `web-1 okay`, `db soft bad`, `new pending`, with its kind in front of a `:` if that counts, and its team behind a `#`.
    fn peer(text: &str) -> Peer {
        let (text, team) = text.split_once('#').unwrap_or((text, ""));
        let (kind, text) = match text.split_once(':') {
            Some(("group", rest)) => ("group", rest),
            Some(("self", rest)) => ("self", rest),
            _ => ("tcp", text),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        Peer {
            name: Name::new(words[0]),
            kind,
            state: State::from_word(words[words.len() - 1]),
            state_type: if words[1] == "soft" { StateType::Soft } else { StateType::Hard },
            labels: std::sync::Arc::new(BTreeMap::from([("team".to_owned(), team.to_owned())])),
        }
    }

    async fn run(settings: &str, peers: &[&str]) -> ServiceResult {
        // Lists are read by the reader of the configuration only.
        let (list, rest) = match settings.split_once("checks: [") {
            Some((_, after)) => after.split_once(']').map(|(list, rest)| (Some(list), format!("{{{rest}"))).unwrap(),
            None => (None, settings.to_owned()),
        };
        let mut group: Group = serde_saphyr::from_str(&rest.replace("{,", "{")).unwrap();
        if let Some(list) = list {
            group.checks = Some(OneOrMore(list.split(", ").map(str::to_owned).collect()));
        }
        group.validate().unwrap();
        let these = These(peers.iter().map(|text| peer(text)).collect());
        let peers: &dyn Peers = if peers.is_empty() { &NoPeers } else { &these };
        let context = Context {
            check: "this",
            host: "host",
            now: jiff::Timestamp::UNIX_EPOCH,
            timeout: Duration::from_secs(1),
            sysroot: std::path::Path::new("/"),
            spawner: &NoPrograms,
            env: &[],
            memory: None,
            peers,
            explain: false,
        };
        let answer = CheckKind::run(&group, &context).await;
        CheckResult::new(Name::new("this"), context.now, Duration::ZERO, answer, State::Unknown).unwrap().result
    }

    async fn verdict(settings: &str, peers: &[&str]) -> String {
        let result = run(settings, peers).await;
        format!("{}: {}", result.state, result.message)
    }

    const WEB: [&str; 5] = ["this bad", "web-1 okay", "web-2 bad", "web-3 warning", "db unknown"];

    #[tokio::test]
    async fn a_group_is_as_good_as_what_it_needs() {
        for (settings, expected) in [
            ("{ checks: 'web-*' }", "bad: 1 of 3 are okay: web-2 is bad, web-3 is warning"),
            ("{ checks: 'web-*', need: any }", "okay: 1 of 3 are okay: web-2 is bad, web-3 is warning"),
            (
                "{ checks: 'web-*', need: '2' }",
                "warning: 1 of 3 are okay: web-2 is bad, web-3 is warning, and 2 are needed",
            ),
            ("{ checks: 'web-*', need: '4' }", "unknown: 4 members are needed, and there are only 3"),
            ("{ checks: [web-1, db] }", "unknown: 1 of 2 are okay: db is unknown"),
            ("{ checks: [web-1, db], unknown: okay }", "okay: 1 of 2 are okay: db is unknown"),
            ("{ checks: [web-1, db], unknown: bad }", "bad: 1 of 2 are okay: db is unknown"),
            ("{ checks: 'web-*', need: '0', warning: '< 1' }", "okay: 1 of 3 are okay: web-2 is bad, web-3 is warning"),
            (
                "{ checks: 'web-*', need: any, bad: '< 2' }",
                "bad: okay is 1, below 2 (1 of 3 are okay: web-2 is bad, web-3 is warning)",
            ),
        ] {
            assert_eq!(verdict(settings, &WEB).await, expected, "{settings}");
        }
        let counts: Vec<f64> =
            run("{ checks: '*' }", &WEB).await.metrics.iter().filter_map(|metric| metric.value).collect();
        assert_eq!(counts, [1.0, 1.0, 1.0, 1.0, 4.0], "it does not count itself");
    }

    #[tokio::test]
    async fn what_is_not_confirmed_or_not_looked_at_is_no_problem() {
        let peers = ["this okay", "a okay", "b soft bad", "c pending"];
        let okay = "okay: 2 of 3 are okay: c is pending";
        assert_eq!(verdict("{ checks: '?' }", &peers).await, okay);
        assert_eq!(run("{ checks: '?' }", &peers).await.output.as_ref(), "c: pending\nb: bad, not confirmed");
        let soft = verdict("{ checks: '?', soft: true }", &peers).await;
        assert_eq!(soft, "bad: 1 of 3 are okay: b is bad, not confirmed, c is pending");
        assert!(verdict("{ checks: '?', pending: warning }", &peers).await.starts_with("warning: "));
    }

    #[tokio::test]
    async fn members_are_those_that_are_meant() {
        let peers = [
            "this bad",
            "web-1 okay#web",
            "web-1/tls okay",
            "db bad#data",
            "group:all bad",
            "self:self/store bad",
            "x okay#webmail",
        ];
        for (settings, expected) in [
            ("web-1", "okay: all 2 are okay"),
            ("{ labels: { team: web } }", "okay: all 1 are okay"),
            ("{ labels: { team: 'web*' } }", "okay: all 2 are okay"),
            ("{ checks: 'web*', labels: { team: web } }", "okay: all 1 are okay"),
            ("{ checks: '*', labels: { team: '?*' } }", "bad: 2 of 3 are okay: db is bad"),
            ("all", "bad: 0 of 1 are okay: all is bad"),
            ("self/*", "bad: 0 of 1 are okay: self/store is bad"),
            ("{ checks: '*' }", "bad: 3 of 4 are okay: db is bad"),
            ("{ labels: { team: nobody } }", "unknown: no check has the labels `team: nobody`"),
            ("wbe-1", "unknown: no other check fits `wbe-1`; did you mean `web-1`?"),
            ("[web-1, zzzzzz*]", "unknown: no other check fits `zzzzzz*`; `monchero status` lists all checks"),
            ("this", "unknown: no other check fits `this`; `monchero status` lists all checks"),
        ] {
            let settings =
                if settings.starts_with('{') { settings.to_owned() } else { format!("{{ checks: {settings} }}") };
            assert_eq!(
                verdict(&settings.replace("checks: self/*", "checks: 'self/*'"), &peers).await,
                expected,
                "{settings}"
            );
        }
        assert!(
            verdict("{ checks: x }", &[]).await.starts_with("unknown: the states of other checks are not known here")
        );
    }

    #[test]
    fn a_group_says_whom_it_names() {
        let mut group: Group = serde_saphyr::from_str("{ checks: web }").unwrap();
        group.checks = Some(OneOrMore(["web-*", "db", "all", "?"].map(str::to_owned).to_vec()));
        assert_eq!(CheckKind::judges(&group), ["db", "all"]);
    }

    #[tokio::test]
    async fn many_members_are_counted() {
        let names: Vec<String> = (0..300).map(|number| format!("w{number} bad")).collect();
        let peers: Vec<&str> = names.iter().map(String::as_str).collect();
        let result = run("{ checks: 'w*' }", &peers).await;
        assert!(result.message.ends_with(" and 292 more are not"), "{}", result.message);
        assert_eq!(result.output.lines().count(), MAX_LISTED);
    }
}
