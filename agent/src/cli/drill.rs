//! `monchero drill`: who would be told what, and what would run, if a check became something now.

use std::fmt::Write as _;

use clap::Args;
use monchero_api::Client;
use monchero_api::types::{DrillAnswer, DrillScript, DrillTarget, Plan, Verdict};
use monchero_core::State;
use monchero_core::text::counted;

use super::exit::Ended;
use super::notify;
use super::operate::state;
use super::screen::{self, Progress, Screen};
use super::table::{Cell, Column, Table};

/// Options of `monchero drill`.
#[derive(Args, Debug)]
pub(super) struct DrillArgs {
    /// The check.
    check: String,
    /// What it would become: `okay`, `warning`, `unknown` or `bad`.
    #[arg(value_parser = state)]
    state: State,
    /// Send those who would be told now a message that says that it is a drill. Scripts are never run.
    #[arg(long)]
    send: bool,
    /// Print JSON, as `POST /v1/checks/{name}/drill` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero drill`.
pub(super) async fn drill(client: &Client, screen: &Screen, args: DrillArgs) -> Ended {
    let progress = args.send.then(|| Progress::new("waiting for those who are told"));
    let answer = client.drill(&args.check, args.state, args.send).await;
    drop(progress);
    let answer = answer?;
    let found = answer.value()?;
    if args.json {
        screen::print_json(answer.json())?;
    } else {
        screen::print(&page(screen, &found, args.send))?;
    }
    Ok(notify::ended(found.targets.iter().filter_map(|target| target.sent.as_ref()).all(|sent| sent.delivered)))
}

fn page(screen: &Screen, drill: &DrillAnswer, sent: bool) -> String {
    let state = |state| screen.paint(monchero_api::types::CheckState::as_str(state), screen::style(state));
    let mut out = format!("if {} became {} now", screen::line(&drill.check), state(drill.state));
    if drill.hard_state == drill.state {
        out.push_str(", which it is");
    }
    out.push_str(":\n\n");
    let mut table =
        Table::new([Column::new("ACTION"), Column::new("WOULD BE"), Column::new("WHEN"), Column::new("WHY")]);
    for target in &drill.targets {
        let name = Cell::new(&target.target.name);
        table.push([name, told(target), Cell::made(when(screen, target)), Cell::new(&target.why)]);
    }
    for script in &drill.scripts {
        let (word, when) = match script.verdict {
            Verdict::Runs => ("run", "now"),
            Verdict::Skipped => ("skipped", ""),
            Verdict::NotSetOff => ("not run", ""),
        };
        table.push([Cell::new(&script.name), Cell::new(word), Cell::new(when), Cell::made(bounded(script))]);
    }
    let table = table.render(screen);
    out.push_str(if table.is_empty() { "nobody: it has no actions\n" } else { &table });
    out.push('\n');
    out.push_str(&end(drill, sent));
    out
}

fn told(target: &DrillTarget) -> Cell<'static> {
    let notice = target.target.notice.clone().unwrap_or_default();
    Cell::made(match target.target.plan {
        Plan::Tell => format!("told: {notice}"),
        Plan::Held => format!("held: {notice}"),
        Plan::Nothing => "not told".to_owned(),
    })
}

/// When it would be told; how long it would be held, if that is known.
fn when(screen: &Screen, target: &DrillTarget) -> String {
    match (target.target.plan, target.target.at) {
        (Plan::Tell, None) => "now".to_owned(),
        (Plan::Tell, Some(at)) => screen.until(at),
        (Plan::Held, Some(at)) => format!("{} ({})", screen.until(at), screen.time(at)),
        (Plan::Held, None) => "when that ends".to_owned(),
        (Plan::Nothing, Some(at)) => format!("reminder {}", screen.until(at)),
        (Plan::Nothing, None) => String::new(),
    }
}

/// Why a script would run or not; if it would, what bounds it.
fn bounded(script: &DrillScript) -> String {
    let mut why = script.why.clone();
    if script.verdict != Verdict::Runs {
        return why;
    }
    if let Some(limit) = script.limit {
        let _ = write!(why, "; at most {} for one incident", counted(limit, "time"));
    }
    if let Some(cooldown) = &script.cooldown {
        let _ = write!(why, "; then not for {cooldown}");
    }
    why
}

/// What was sent.
fn end(drill: &DrillAnswer, sent: bool) -> String {
    if !sent {
        return "nothing changed, and nobody was told; `--send` sends those who would be told now a drill\n".to_owned();
    }
    let mut out = String::new();
    for sent in drill.targets.iter().filter_map(|target| target.sent.as_ref()) {
        let how = if sent.delivered { "took the drill" } else { "could not be told" };
        let answer = if sent.answer.is_empty() { String::new() } else { format!(": {}", sent.answer) };
        let _ = writeln!(out, "{}", screen::line(&format!("`{}` {how}{answer}", sent.target)));
    }
    if out.is_empty() { "nobody would be told now, so nothing was sent\n".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use monchero_api::types::{CheckState, Hold, Target, TestAnswer};

    use super::*;
    use crate::cli::status::tests::screen;

    fn target(name: &str, plan: Plan, at: Option<Timestamp>, why: &str) -> DrillTarget {
        let notice = (plan != Plan::Nothing).then(|| "problem".to_owned());
        let hold = (plan == Plan::Held).then(|| Hold { kind: "delay".into(), text: why.to_owned(), until: at });
        let target = Target {
            name: name.to_owned(),
            told: CheckState::Okay,
            told_at: None,
            plan,
            notice,
            at,
            hold,
            failed_tries: 0,
            last_error: None,
        };
        DrillTarget { target, why: why.to_owned(), sent: None }
    }

    #[test]
    fn a_drill_is_a_table() {
        let screen = screen(None);
        let soon = screen.now.checked_add(std::time::Duration::from_secs(600)).unwrap();
        let script = DrillScript {
            name: "restart".into(),
            verdict: Verdict::Runs,
            why: "nothing stops it".into(),
            on: vec!["bad".into()],
            cooldown: Some("10m".into()),
            limit: Some(3),
        };
        let mut drill = DrillAnswer {
            check: "shop".into(),
            state: CheckState::Bad,
            hard_state: CheckState::Okay,
            targets: vec![
                target("ops", Plan::Tell, None, "nothing holds it"),
                target("boss", Plan::Held, Some(soon), "this target is told of problems only that last"),
                target("log", Plan::Nothing, None, "it wants to be told of warning only"),
            ],
            scripts: vec![script],
        };
        let expected = "\
if shop became bad now:

ACTION   WOULD BE       WHEN                          WHY
ops      told: problem  now                           nothing holds it
boss     held: problem  in 10m (2027-01-15 08:10:00)  this target is told of problems only that last
log      not told                                     it wants to be told of warning only
restart  run            now                           nothing stops it; at most 3 times for one incident; then not for 10m

nothing changed, and nobody was told; `--send` sends those who would be told now a drill
";
        assert_eq!(page(&screen, &drill, false), expected);
        assert!(page(&screen, &drill, true).ends_with("\nnobody would be told now, so nothing was sent\n"));
        drill.targets[0].sent =
            Some(TestAnswer { target: "ops".into(), delivered: false, answer: "no connection\u{7}".into() });
        assert!(page(&screen, &drill, true).ends_with("\n`ops` could not be told: no connection\\u{7}\n"));
    }
}
