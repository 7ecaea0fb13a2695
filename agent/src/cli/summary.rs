//! `monchero summary`: how everything is, and what happened in a period.

use std::fmt::Write as _;

use clap::Args;
use monchero_actions::words;
use monchero_api::Client;
use monchero_core::summary::Summary;

use super::exit::{Ended, Failed};
use super::history::moment;
use super::notify::ended;
use super::screen::{self, Progress, Screen};

/// Options of `monchero summary`.
#[derive(Args, Debug)]
pub(super) struct SummaryArgs {
    /// From when on: a span back from now (`1d`, `7d`) or a moment (`2026-01-31`, `2026-01-31T12:00`).
    #[arg(long, default_value = "1d", value_name = "WHEN")]
    since: String,
    /// Send it to this target instead of printing it, and print what the receiver answers.
    #[arg(long, value_name = "TARGET")]
    send: Option<String>,
    /// Print JSON, as `GET /v1/summary` or `POST /v1/targets/{name}/summary` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero summary`.
pub(super) async fn summary(client: &Client, screen: &Screen, args: SummaryArgs) -> Ended {
    let since = moment(screen, &args.since).map_err(|why| Failed::usage(format!("`--since`: {why}")))?;
    if let Some(target) = &args.send {
        let progress = Progress::new(&format!("waiting for `{target}`"));
        let answer = client.send_summary(target, since).await;
        drop(progress);
        let answer = answer?;
        let went = answer.value()?;
        if args.json {
            screen::print_json(answer.json())?;
        } else if went.delivered {
            screen::print(&format!("{}\n", screen::line(&format!("`{target}` took the summary: {}", went.answer))))?;
        } else {
            return Err(Failed::new(format!("`{target}` could not be sent the summary: {}", went.answer))
                .hint("`monchero notify test` tries the target, `monchero notify log` shows how messages to it went"));
        }
        return Ok(ended(went.delivered));
    }
    let answer = client.summary(since).await?;
    if args.json {
        screen::print_json(answer.json())?;
        return Ok(0.into());
    }
    screen::print(&page(screen, &answer.value()?))?;
    Ok(0.into())
}

/// The same words as in a message.
fn page(screen: &Screen, summary: &Summary) -> String {
    let mut page = format!("{}\n", words::summary_headline(summary));
    for (name, value) in words::summary_facts(summary, &screen.zone) {
        let _ = writeln!(page, "{:<10} {value}", format!("{name}:"));
    }
    for (title, lines) in words::summary_sections(summary) {
        let _ = writeln!(page, "\n{}", screen.paint(title, owo_colors::Style::new().bold()));
        for line in lines {
            let _ = writeln!(page, "  {line}");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use monchero_core::summary::{Counts, Listed, Problem};
    use monchero_core::{Name, State};

    use super::*;
    use crate::cli::status::tests::screen;

    #[test]
    fn a_page_says_how_it_is_and_what_is_wrong() {
        let at = |hours: i64| Timestamp::from_second(1_800_000_000 + hours * 3_600).unwrap();
        let problem = Problem {
            check: Name::new("shop"),
            state: State::Bad,
            since: Some(at(-2)),
            message: "503\u{1b}[2J".to_owned(),
            held: None,
        };
        let summary = Summary {
            host: "web1".to_owned(),
            since: at(-24),
            until: at(0),
            counts: Counts { okay: 3, bad: 1, ..Counts::default() },
            problems: Listed { lines: vec![problem], more: 0 },
            sent: 2,
            ..Summary::default()
        };
        let expected = "\
How it is on web1: 1 bad, 3 okay.
Period:    2027-01-14 08:00:00 +00:00 to 2027-01-15 08:00:00 +00:00 (1d)
Messages:  2 delivered

Wrong now
  bad: shop for 2h: 503\\e[2J
";
        assert_eq!(page(&screen(None), &summary), expected);
    }
}
