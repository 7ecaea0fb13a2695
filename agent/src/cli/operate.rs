//! `monchero run`, `submit` and `reload`: what makes a daemon do something now.

use std::fmt::Write as _;

use clap::Args;
use monchero_api::Client;
use monchero_api::types::{ReloadSummary, ResultRequest, RunResult};
use monchero_core::State;
use monchero_core::quantity::{self, Unit};
use monchero_core::text::counted;

use super::exit::{self, Ended};
use super::screen::{self, Progress, Screen};

/// Options of `monchero run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The checks, by name.
    #[arg(required = true, value_name = "CHECK")]
    checks: Vec<String>,
    /// Print JSON, as `POST /v1/run` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero run`.
pub(super) async fn run(client: &Client, screen: &Screen, args: RunArgs) -> Ended {
    let progress = Progress::new(&format!("waiting for {}", args.checks.join(", ")));
    let answer = client.run(args.checks).await;
    drop(progress);
    let answer = answer?;
    let found = answer.value()?;
    if args.json {
        screen::print_json(answer.json())?;
    } else {
        screen::print(&found.results.iter().map(|result| result_block(screen, result)).collect::<String>())?;
    }
    Ok(exit::of(found.worst))
}

/// What one run found: state, message, further output, metrics.
pub(super) fn result_block(screen: &Screen, result: &RunResult<'_>) -> String {
    let state = screen.paint(result.state.as_str(), screen::style(result.state));
    let mut out = format!("{}  {state}  {}\n", screen::line(&result.name), screen::line(&result.message));
    for line in screen::block(&result.output).lines() {
        let _ = writeln!(out, "  {line}");
    }
    for metric in &result.metrics {
        let value = metric
            .value
            .map_or_else(|| "not known".to_owned(), |value| quantity::human(value, &Unit::new(&metric.unit)));
        let _ = writeln!(out, "  {} = {}", screen::line(&metric.label), screen::line(&value));
    }
    out
}

/// Options of `monchero submit`.
#[derive(Args, Debug)]
pub(super) struct SubmitArgs {
    /// The check, or a service of one: `raid/md0`.
    check: String,
    /// `okay`, `warning`, `unknown` or `bad`; also Nagios's words and numbers (`CRITICAL`, `2`).
    #[arg(value_parser = state)]
    state: State,
    /// One line about it.
    #[arg(default_value = "")]
    message: String,
    /// Further lines.
    #[arg(long, default_value = "", value_name = "TEXT")]
    output: String,
    /// What was measured, as plugins write it: `time=0.2s;1;2 size=10KB`.
    #[arg(long, default_value = "", value_name = "METRICS")]
    perfdata: String,
}

pub(super) fn state(word: &str) -> Result<State, String> {
    State::from_word(word).ok_or_else(|| "a state is `okay`, `warning`, `unknown` or `bad`".to_owned())
}

/// Runs `monchero submit`.
pub(super) async fn submit(client: &Client, args: SubmitArgs) -> Ended {
    let request = ResultRequest {
        check: args.check,
        state: args.state.to_string(),
        message: args.message,
        output: args.output,
        metrics: Vec::new(),
        perfdata: args.perfdata,
    };
    let done = client.submit(&request).await?.value()?;
    screen::print(&format!("{}\n", screen::line(&done.done)))?;
    Ok(0.into())
}

/// Options of `monchero reload`.
#[derive(Args, Debug)]
pub(super) struct ReloadArgs {
    /// Print JSON, as `POST /v1/reload` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero reload`.
pub(super) async fn reload(client: &Client, args: ReloadArgs) -> Ended {
    let answer = client.reload().await?;
    if args.json {
        screen::print_json(answer.json())?;
    } else {
        screen::print(&changes(&answer.value()?))?;
    }
    Ok(0.into())
}

fn changes(summary: &ReloadSummary) -> String {
    let ReloadSummary { added, changed, removed, unchanged, warnings } = summary;
    let mut out = format!(
        "reloaded: {} added, {changed} changed, {removed} removed, {unchanged} untouched\n",
        counted(*added, "check")
    );
    for warning in warnings {
        let _ = writeln!(out, "warning: {}", screen::line(warning));
    }
    out
}
