//! Runs the pages of `tests/scenarios/` on the real engine with a paused clock.
//!
//! A page is prose, a list of what is configured, and a table. Each row says what happens at a time (`event`), what each check answers from
//! then on (`shop =`), and, just before the next row, what is expected: the state of checks (`shop`), the messages that targets got and the
//! scripts that ran since the row (`told`, `scripts`; `;` between several, `-` for none).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::lab::{Answer, CheckSpec, Lab, ScriptSpec};
use monchero_core::decide::{Remind, Wants};
use monchero_core::definition::{Configuration, Gate, Trigger};
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::{Downtime, Recurring, Selector, Shut};
use monchero_core::recurrence::Recurrence;
use monchero_core::{Name, Policy, Report, State, duration};

/// How long the engine may leave a result alone after a start.
const REST: Duration = Duration::from_millis(50);

struct Page {
    checks: Vec<CheckSpec>,
    targets: Vec<(String, Wants)>,
    /// How long a target waits, and how many attempts to mend something it waits for.
    waits: HashMap<String, (Option<Duration>, Option<u32>)>,
    scripts: Vec<ScriptSpec>,
    /// The labels of checks that have any.
    labels: HashMap<String, BTreeMap<String, String>>,
    recurring: Vec<Recurring>,
    gate: Option<Gate>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[test]
fn every_page_is_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    assert!(pages.len() >= 8, "the pages are in {}", folder.display());
    let mut wrong = Vec::new();
    for path in &pages {
        let page = parse(&std::fs::read_to_string(path).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        wrong.extend(
            runtime
                .block_on(play(&page))
                .into_iter()
                .map(|why| format!("{}: {why}", path.file_name().unwrap().display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

async fn play(page: &Page) -> Vec<String> {
    let mut lab = Lab::adjusted(&page.checks, &page.targets, &page.scripts, |action| {
        if let Some(waits) = page.waits.get(action.name.as_str()) {
            (action.delay, action.after) = *waits;
        }
    });
    if !page.labels.is_empty() || !page.recurring.is_empty() || page.gate.is_some() {
        lab.configure(|configuration| complete(page, configuration)).await;
    }
    let mut wrong = Vec::new();
    let mut now = Duration::ZERO;
    let times: Vec<Duration> = page.rows.iter().map(|row| duration::parse(&row[0]).unwrap()).collect();
    for (index, row) in page.rows.iter().enumerate() {
        assert!(times[index] >= now, "times grow: {}", row[0]);
        tokio::time::sleep(times[index].saturating_sub(now)).await;
        for (column, cell) in page.columns.iter().zip(row) {
            if let Some(check) = column.strip_suffix(" =") {
                set_answer(&lab, check, cell);
            }
        }
        for (column, cell) in page.columns.iter().zip(row) {
            if column == "event" {
                for event in cell.split(';').map(str::trim).filter(|event| !event.is_empty()) {
                    happen(&mut lab, event).await;
                }
            }
        }
        // Results are taken a moment after they come.
        tokio::time::sleep(REST).await;
        now = times[index] + REST;
        // Just before the next row, or a minute after the last one.
        let until = times
            .get(index + 1)
            .copied()
            .unwrap_or(now + Duration::from_secs(60))
            .saturating_sub(Duration::from_millis(1));
        tokio::time::sleep(until.saturating_sub(now)).await;
        now = until.max(now);
        let (told, scripts) = (lab.take_messages(), lab.take_scripts());
        for (column, cell) in page.columns.iter().zip(row) {
            let found = match column.as_str() {
                "time" | "event" => continue,
                column if column.ends_with(" =") => continue,
                "told" => list(&told),
                "scripts" => list(&scripts),
                check => lab.state(check).await,
            };
            if !cell.is_empty() && *cell != found {
                wrong.push(format!("row {}: {column}: expected `{cell}`, found `{found}`", row[0]));
            }
        }
    }
    wrong
}

/// What a configuration has besides checks and actions.
fn complete(page: &Page, configuration: &mut Configuration) {
    configuration.downtimes.clone_from(&page.recurring);
    configuration.gate.clone_from(&page.gate);
    for check in &mut configuration.checks {
        if let Some(labels) = page.labels.get(check.name.as_str()) {
            Arc::make_mut(&mut check.settings).labels = Arc::new(labels.clone());
            check.fingerprint += 1;
        }
    }
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "-".to_owned() } else { texts.join("; ") }
}

fn set_answer(lab: &Lab, check: &str, cell: &str) {
    match cell {
        "" => {}
        "times out" => lab.answer(check, Answer::TimesOut),
        "panics" => lab.answer(check, Answer::Panics),
        state => {
            lab.answer(check, Answer::State(State::from_word(state).unwrap_or_else(|| panic!("no answer: {state}"))));
        }
    }
}

async fn happen(lab: &mut Lab, event: &str) {
    let words: Vec<&str> = event.split_whitespace().collect();
    match words.as_slice() {
        ["restart"] => lab.restart().await,
        ["kill"] => lab.kill().await,
        ["remove", check] => lab.remove(check).await,
        [target, "down"] => drop(lab.target_works.lock().unwrap().insert((*target).to_owned(), false)),
        [target, "up"] => drop(lab.target_works.lock().unwrap().insert((*target).to_owned(), true)),
        ["submit", check, state] => {
            let report = Report::of(State::from_word(state).unwrap(), "submitted");
            lab.handle.submit(Name::new(check), report).await.unwrap();
        }
        ["ack", check, rest @ ..] => {
            let until =
                rest.first().filter(|word| **word != "sticky").map(|word| lab.now() + duration::parse(word).unwrap());
            let sticky = rest.contains(&"sticky");
            lab.handle
                .acknowledge(Name::new(check), "ann".to_owned(), "on it".to_owned(), until, sticky)
                .await
                .unwrap();
        }
        ["unack", check] => lab.handle.unacknowledge(Name::new(check)).await.unwrap(),
        ["downtime", covers, length] => plan(lab, covers, length, None).await,
        ["flexible", "downtime", covers, window, length] => plan(lab, covers, window, Some(length)).await,
        _ => panic!("no event: {event}"),
    }
}

/// A downtime of checks by name or by label, `team=web`.
async fn plan(lab: &Lab, covers: &str, until: &str, lasts: Option<&str>) {
    let covers = match covers.split_once('=') {
        Some(label) => Selector { labels: labels([label]), ..Selector::default() },
        None => covers.into(),
    };
    let start = lab.now();
    let downtime = Downtime {
        covers,
        start,
        end: start + duration::parse(until).unwrap(),
        lasts: lasts.map(|lasts| duration::parse(lasts).unwrap()),
        author: "ann".to_owned(),
        comment: "work".to_owned(),
        ..Downtime::default()
    };
    lab.handle.add_downtime(downtime).await.unwrap();
}

fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn parse(text: &str) -> Page {
    let mut page = Page {
        checks: Vec::new(),
        targets: Vec::new(),
        waits: HashMap::new(),
        scripts: Vec::new(),
        labels: HashMap::new(),
        recurring: Vec::new(),
        gate: None,
        columns: Vec::new(),
        rows: Vec::new(),
    };
    for line in text.lines() {
        if let Some(item) = line.strip_prefix("- ") {
            parse_item(&mut page, item);
        } else if let Some(cells) = line.strip_prefix('|') {
            let cells: Vec<String> =
                cells.trim_end().trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            if page.columns.is_empty() {
                page.columns = cells;
            } else if !cells[0].starts_with("--") {
                assert_eq!(cells.len(), page.columns.len(), "{line}");
                page.rows.push(cells);
            }
        }
    }
    assert!(!page.rows.is_empty() && !page.checks.is_empty(), "a page has checks and a table");
    page
}

/// `10m`, or `10m 20m 1h`: each wait twice as long as the one before, an hour at most.
fn reminders(words: &[String]) -> Remind {
    let spans: Vec<Duration> = words.iter().map(|word| duration::parse(word).unwrap()).collect();
    match spans[..] {
        [every] => Remind::from(every),
        [every, second, at_most] => {
            let growth = u32::try_from(second.as_secs() * 100 / every.as_secs()).unwrap();
            Remind { every, growth, at_most }
        }
        _ => panic!("no reminders: {words:?}"),
    }
}

/// ``- check `shop`: interval 1m, retries 2, retry 10s, depends on `router`, actions `ops` ``
fn parse_item(page: &mut Page, item: &str) {
    let (head, settings) = item.split_once(": ").unwrap_or((item, ""));
    let mut head = head.split('`');
    let (what, name) = (head.next().unwrap().trim(), head.next().unwrap().to_owned());
    let settings: HashMap<&str, Vec<String>> = settings
        .split(", ")
        .filter(|setting| !setting.is_empty())
        .map(|setting| {
            let key = [
                "depends on",
                "interval",
                "retries",
                "retry",
                "recover after",
                "flapping",
                "actions",
                "states",
                "remind",
                "on",
                "limit",
                "cooldown",
                "labels",
                "delay",
                "after",
                "before a hold ends",
                "acknowledgements",
                "checks",
                "holds",
                "calendar",
                "lasts",
            ]
            .into_iter()
            .find(|key| setting.starts_with(key))
            .unwrap_or_else(|| panic!("no setting: {setting}"));
            let values =
                setting[key.len()..].split(['`', ' ']).filter(|value| !value.is_empty()).map(str::to_owned).collect();
            (key, values)
        })
        .collect();
    let one = |key: &str| settings.get(key).and_then(|values| values.first());
    let span = |key: &str| one(key).map(|value| duration::parse(value).unwrap());
    let number = |key: &str, default: u32| one(key).map_or(default, |value| value.parse().unwrap());
    match what {
        "check" => {
            let interval = span("interval").unwrap_or(Duration::from_secs(60));
            if let Some(pairs) = settings.get("labels") {
                page.labels.insert(name.clone(), labels(pairs.iter().map(|pair| pair.split_once('=').unwrap())));
            }
            page.checks.push(CheckSpec {
                name,
                interval,
                retry_interval: span("retry").unwrap_or(interval),
                policy: Policy {
                    max_attempts: number("retries", 0) + 1,
                    recover_after: number("recover after", 1),
                    flapping: (one("flapping").map(String::as_str) != Some("off")).then(FlappingPolicy::default),
                },
                depends_on: settings.get("depends on").cloned().unwrap_or_default(),
                actions: settings.get("actions").cloned().unwrap_or_default(),
            });
        }
        "target" => {
            let states = settings.get("states").map_or(vec![State::Warning, State::Unknown, State::Bad], |words| {
                words.iter().map(|word| State::from_word(word).unwrap()).collect()
            });
            let remind = settings.get("remind").map(|words| reminders(words));
            let after = one("after").map(|count| count.parse().unwrap());
            page.waits.insert(name.clone(), (span("delay"), after));
            let acknowledgements = one("acknowledgements").map(String::as_str) == Some("on");
            let before_hold_ends = span("before a hold ends");
            page.targets.push((name, Wants { states, remind, before_hold_ends, acknowledgements }));
        }
        "script" => {
            let on = settings["on"].iter().map(|word| match word.as_str() {
                "warning" => Trigger::Warning,
                "bad" => Trigger::Bad,
                "unknown" => Trigger::Unknown,
                "recovery" => Trigger::Recovery,
                "soft" => Trigger::Soft,
                other => panic!("no trigger: {other}"),
            });
            let limit = one("limit").map(|n| n.parse().unwrap());
            page.scripts.push(ScriptSpec { name, on: on.collect(), limit, cooldown: span("cooldown") });
        }
        "downtime" => page.recurring.push(Recurring {
            name: Name::new(&name),
            covers: Selector { checks: settings["checks"].clone(), ..Selector::default() },
            begins: Recurrence::calendar(&settings["calendar"].join(" "), jiff::tz::TimeZone::UTC).unwrap(),
            lasts: span("lasts").unwrap(),
            comment: "as every time".to_owned(),
            source: "lab".into(),
        }),
        "gate" => {
            let names = |key: &str| settings[key].iter().map(|name| Name::new(name));
            let shut = if name == "any" { Shut::Any } else { Shut::All };
            page.gate = Some(Gate { checks: names("checks").collect(), shut, holds: names("holds").collect() });
        }
        other => panic!("no such item: {other}"),
    }
}
