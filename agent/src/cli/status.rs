//! `monchero status`: the table.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use monchero_api::Client;
use monchero_api::types::{CheckState, Confirmation};
use monchero_core::order;
use owo_colors::Style;
use serde::Deserialize;

use super::exit::{self, Ended, Failed};
use super::screen::{self, Screen};
use super::table::{Cell, Column, Narrow, Table};

/// How often `--watch` looks again.
pub(super) const WATCH: Duration = Duration::from_secs(2);
/// What `--watch` shows besides rows: its first line, the headings, what was left out, a blank, the summary, the hint, the cursor's
/// line.
const WATCH_FRAME: usize = 7;

/// Options of `monchero status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Only these checks: names, or patterns with `*`. A check's name covers its services and instances.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only checks that are not okay.
    #[arg(long, short)]
    problems: bool,
    /// Print JSON, as `GET /v1/status` of the API answers.
    #[arg(long)]
    json: bool,
    /// Look again every two seconds, until Ctrl-C.
    #[arg(long, short, conflicts_with = "json")]
    watch: bool,
}

/// What the table needs of an answer: the rest of it is not even read, and text is not copied.
#[derive(Deserialize)]
pub(super) struct Shown<'a> {
    #[serde(borrow)]
    host: Cow<'a, str>,
    worst: CheckState,
    #[serde(borrow)]
    checks: Vec<Row<'a>>,
}

/// A row of the table.
#[derive(Deserialize)]
pub(super) struct Row<'a> {
    /// The check.
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    /// What was found.
    pub(super) state: CheckState,
    /// Whether it is confirmed.
    pub(super) state_type: Confirmation,
    /// The attempt.
    pub(super) attempt: u32,
    /// How many attempts make it hard.
    pub(super) max_attempts: u32,
    /// Since when that is so.
    pub(super) since: Option<Timestamp>,
    /// One line about it.
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    /// Why its notices wait.
    #[serde(borrow)]
    pub(super) holds: Vec<HoldMark<'a>>,
}

/// Why notices wait, in one word.
#[derive(Deserialize)]
pub(super) struct HoldMark<'a> {
    /// The word.
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
}

/// Runs `monchero status`.
pub(super) async fn status(client: &Client, screen: &Screen, args: StatusArgs) -> Ended {
    if args.watch {
        return watch(client, screen, &args).await;
    }
    let answer = client.status(&args.patterns, args.problems).await?;
    let mut shown: Shown<'_> = answer.read()?;
    if args.json {
        screen::print_json(answer.json())?;
    } else {
        let page = page(screen, &mut shown.checks, args.problems, usize::MAX);
        screen::print(&(page + &next(&shown.checks)))?;
    }
    Ok(exit::of(shown.worst))
}

async fn watch(client: &Client, screen: &Screen, args: &StatusArgs) -> Ended {
    if screen.width.is_none() {
        return Err(Failed::usage("`--watch` needs a terminal")
            .hint("without a terminal, ask again when you want to know: `monchero status`"));
    }
    loop {
        // The terminal may have been resized.
        let screen = Screen {
            width: Screen::stdout(screen::Colour::Auto).width,
            now: monchero_engine::Clock::system().now(),
            ..screen.clone()
        };
        let rows = screen::height().saturating_sub(WATCH_FRAME).max(1);
        let (host, page) = match look(client, &screen, args, rows).await {
            Ok(shown) => shown,
            Err(failed) => (String::new(), failed.render()),
        };
        let heading = screen.paint(&format!("{}  {}", screen.time(screen.now), host), Style::new().bold());
        screen::print(&redraw(&format!("{heading}\n{page}")))?;
        tokio::time::sleep(WATCH).await;
    }
}

async fn look(client: &Client, screen: &Screen, args: &StatusArgs, rows: usize) -> Result<(String, String), Failed> {
    let answer = client.status(&args.patterns, args.problems).await?;
    let mut shown: Shown<'_> = answer.read()?;
    let page = page(screen, &mut shown.checks, args.problems, rows);
    Ok((screen::line(&shown.host).into_owned(), page + &next(&shown.checks)))
}

/// Draws over what stands there, line by line, so that nothing flickers: home, each line cleared to its end, then all below.
fn redraw(page: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", page.replace('\n', "\u{1b}[K\n"))
}

/// The table and what it adds up to. At most `max` rows, the worst.
pub(super) fn page(screen: &Screen, rows: &mut [Row<'_>], problems: bool, max: usize) -> String {
    if rows.is_empty() {
        return if problems { "no problems\n" } else { "no checks\n" }.to_owned();
    }
    // Confirmed before soft, then by name: the eye finds the same check in the same place.
    order::sort_by(rows, |a, b| {
        let soft = |row: &Row<'_>| row.state_type == Confirmation::Soft;
        b.state.cmp(&a.state).then(soft(a).cmp(&soft(b))).then(a.name.cmp(&b.name))
    });
    let mut table = Table::new([
        Column::narrow("NAME", Narrow::Shrinks),
        Column::new("STATE"),
        Column::narrow("SINCE", Narrow::Leaves),
        Column::narrow("ATTEMPT", Narrow::Leaves),
        Column::new("MESSAGE"),
    ]);
    for row in rows.iter().take(max) {
        table.push(cells(screen, row));
    }
    let mut out = table.render(screen);
    if rows.len() > max {
        let _ = writeln!(out, "… {} more", rows.len() - max);
    }
    out.push('\n');
    out.push_str(&screen::summary(screen, rows.iter().map(|row| row.state)));
    out.push('\n');
    out
}

/// What to ask next, if something is wrong; the rows are sorted.
fn next(rows: &[Row<'_>]) -> String {
    match rows.first().filter(|row| row.state > CheckState::Okay) {
        Some(worst) => format!("hint: `monchero show {}` says more\n", screen::line(&shell_words::quote(&worst.name))),
        None => String::new(),
    }
}

fn cells<'a>(screen: &Screen, row: &'a Row<'_>) -> [Cell<'a>; 5] {
    let soft = row.state_type == Confirmation::Soft && row.state > CheckState::Okay;
    let state =
        if soft { Cow::Owned(format!("{} soft", row.state.as_str())) } else { Cow::Borrowed(row.state.as_str()) };
    let attempt =
        if row.state > CheckState::Okay { format!("{}/{}", row.attempt, row.max_attempts) } else { String::new() };
    let message = if row.holds.is_empty() {
        Cell::new(&row.message)
    } else {
        let holds = row.holds.iter().map(|hold| hold.kind.as_ref()).collect::<Vec<_>>().join(", ");
        Cell::made(format!("[{holds}] {}", row.message))
    };
    [
        Cell::new(&row.name),
        Cell::made(state).style(screen::style(row.state)),
        Cell::made(row.since.map(|since| screen.since(since)).unwrap_or_default()),
        Cell::made(attempt),
        message,
    ]
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// A screen at a fixed moment in UTC.
    pub(in crate::cli) fn screen(width: Option<usize>) -> Screen {
        Screen { colour: false, width, now: Timestamp::from_second(1_800_000_000).unwrap(), zone: TimeZone::UTC }
    }

    fn row(name: &'static str, state: CheckState, attempt: u32, age: i64, message: &'static str) -> Row<'static> {
        Row {
            name: name.into(),
            state,
            state_type: if state > CheckState::Okay && attempt < 3 { Confirmation::Soft } else { Confirmation::Hard },
            attempt,
            max_attempts: 3,
            since: (state != CheckState::Pending).then(|| Timestamp::from_second(1_800_000_000 - age).unwrap()),
            message: message.into(),
            holds: Vec::new(),
        }
    }

    fn rows() -> Vec<Row<'static>> {
        let mut held = row("raid/md0", CheckState::Warning, 3, 7_260, "degraded: 1 of 2 disks");
        held.holds.push(HoldMark { kind: "downtime".into() });
        held.holds.push(HoldMark { kind: "acknowledged".into() });
        vec![
            row("backup", CheckState::Pending, 0, 0, ""),
            row("root-disk", CheckState::Okay, 1, 273_600, "42% used"),
            row(
                "shop",
                CheckState::Bad,
                3,
                185,
                "status is 503, expected 200; the body is 12 KiB and says nothing that helps",
            ),
            row("dns", CheckState::Unknown, 2, 5, "timed out after 10s"),
            row("api", CheckState::Bad, 1, 0, "no answer"),
            held,
        ]
    }

    const FULL: &str = "\
NAME       STATE         SINCE  ATTEMPT  MESSAGE
shop       bad           3m 5s  3/3      status is 503, expected 200; the body is 12 KiB and says nothing that helps
api        bad soft      0s     1/3      no answer
dns        unknown soft  5s     2/3      timed out after 10s
raid/md0   warning       2h 1m  3/3      [downtime, acknowledged] degraded: 1 of 2 disks
root-disk  okay          3d 4h           42% used
backup     pending

6 checks: 1 okay, 1 warning, 1 unknown, 2 bad, 1 pending
";

    #[test]
    fn the_worst_stands_first_and_pipes_get_everything() {
        let mut rows = rows();
        assert_eq!(page(&screen(None), &mut rows, false, usize::MAX), FULL);
        assert_eq!(next(&rows), "hint: `monchero show shop` says more\n");
        assert_eq!(page(&screen(Some(200)), &mut rows, false, usize::MAX), FULL);
    }

    #[test]
    fn eighty_columns_are_enough() {
        let expected = "\
NAME       STATE         SINCE  ATTEMPT  MESSAGE
shop       bad           3m 5s  3/3      status is 503, expected 200; the body …
api        bad soft      0s     1/3      no answer
dns        unknown soft  5s     2/3      timed out after 10s
raid/md0   warning       2h 1m  3/3      [downtime, acknowledged] degraded: 1 o…
root-disk  okay          3d 4h           42% used
backup     pending

6 checks: 1 okay, 1 warning, 1 unknown, 2 bad, 1 pending
";
        assert_eq!(page(&screen(Some(80)), &mut rows(), false, usize::MAX), expected);
    }

    #[test]
    fn forty_columns_show_what_matters() {
        let shown = page(&screen(Some(40)), &mut rows(), false, 2);
        let expected = "\
NAME  STATE     MESSAGE
shop  bad       status is 503, expected…
api   bad soft  no answer
… 4 more

6 checks: 1 okay, 1 warning, 1 unknown, 2 bad, 1 pending
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn watching_never_scrolls() {
        let height = 10;
        let mut rows = rows();
        let page = page(&screen(Some(80)), &mut rows, false, height - WATCH_FRAME);
        let drawn = redraw(&format!("heading\n{page}{}", next(&rows)));
        assert_eq!(drawn.matches('\n').count(), height - 1, "{drawn:?}");
        assert!(drawn.starts_with("\u{1b}[Hheading\u{1b}[K\n") && drawn.ends_with("\u{1b}[K\n\u{1b}[J"), "{drawn:?}");
    }

    #[test]
    fn nothing_wrong_is_said_in_words() {
        assert_eq!(page(&screen(None), &mut [], true, 9), "no problems\n");
        assert_eq!(page(&screen(None), &mut [], false, 9), "no checks\n");
        let mut okay = [row("a", CheckState::Okay, 1, 60, "fine")];
        let expected = "NAME  STATE  SINCE  ATTEMPT  MESSAGE\na     okay   1m              fine\n\n1 check: 1 okay\n";
        assert_eq!(page(&screen(None), &mut okay, false, 9), expected);
        assert_eq!(next(&okay), "");
        assert_eq!(
            next(&[row("Disk space /", CheckState::Bad, 3, 0, "")]),
            "hint: `monchero show 'Disk space /'` says more\n"
        );
    }

    #[test]
    fn colour_helps_and_says_nothing_alone() {
        let coloured = Screen { colour: true, ..screen(None) };
        let shown = page(&coloured, &mut rows(), false, usize::MAX);
        // Letters on a ground of their own can be read on any terminal; what is well stays as it is.
        for styled in ["97;41;1mbad\u{1b}", "97;45munknown soft\u{1b}", "30;43mwarning\u{1b}"] {
            assert!(shown.contains(&format!("\u{1b}[{styled}")), "{shown:?}");
        }
        assert!(!shown.contains("mokay"), "{shown:?}");
        let mut plain = String::new();
        let mut chars = shown.chars();
        while let Some(c) = chars.next() {
            if c == '\u{1b}' {
                let _ = chars.by_ref().find(|c| *c == 'm');
            } else {
                plain.push(c);
            }
        }
        assert_eq!(plain, FULL);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let evil = "\u{1b}]0;x\u{7} \u{1b}[2J \u{1b}]52;c;aGk=\u{7} \u{1b}]8;;http://x\u{1b}\\ \u{202e}abc \u{9b}31m \r\n\t\u{0}\u{7f}";
        let mut rows = [row("x", CheckState::Bad, 3, 1, "")];
        rows[0].message = evil.into();
        rows[0].name = evil.into();
        rows[0].holds.push(HoldMark { kind: evil.into() });
        for width in [None, Some(40), Some(80)] {
            let shown = page(&screen(width), &mut rows, false, 9);
            assert!(
                !shown.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)),
                "{shown:?}"
            );
        }
    }

    #[test]
    fn ten_thousand_rows_take_no_time_that_anybody_notices() {
        let names: Vec<String> = (0..10_000).map(|i| format!("check-{i}")).collect();
        let mut rows: Vec<Row<'_>> =
            names.iter().map(|name| Row { name: name.into(), ..row("", CheckState::Okay, 1, 60, "fine") }).collect();
        let begin = std::time::Instant::now();
        let shown = page(&screen(Some(80)), &mut rows, false, usize::MAX);
        // Generous, since this is an unoptimised build on a busy machine.
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert_eq!(shown.lines().count(), 10_003);
    }
}
