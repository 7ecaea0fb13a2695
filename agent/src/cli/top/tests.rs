//! The screens as they are seen, and keys in any order.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::Mode;
use super::*;

const NOW: i64 = 1_800_000_000;

fn at(ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - ago).unwrap()
}

fn check(name: &str, state: &str, attempt: u32, ago: i64, message: &str) -> serde_json::Value {
    let soft = !matches!(state, "okay" | "pending") && attempt < 3;
    serde_json::json!({
        "name": name, "kind": "http", "state": state, "state_type": if soft { "soft" } else { "hard" },
        "attempt": attempt, "max_attempts": 3, "since": (state != "pending").then(|| at(ago)),
        "last_check": at(12), "next_check": at(-18), "message": message, "metrics": [], "holds": [], "labels": {},
    })
}

fn picture_of(checks: &[serde_json::Value]) -> Picture {
    serde_json::from_value(serde_json::json!({ "host": "db1", "worst": "bad", "checks": checks })).unwrap()
}

/// A few checks of every sort.
pub(super) fn picture() -> Picture {
    let mut checks = vec![
        check("api", "bad", 1, 0, "no answer"),
        check("backup", "pending", 0, 0, ""),
        check("dns", "unknown", 2, 5, "timed out after 10s"),
        check("raid/md0", "warning", 3, 7_260, "degraded: 1 of 2 disks"),
        check("root-disk", "okay", 1, 273_600, "42% used"),
        check("shop", "bad", 3, 185, "status is 503, expected 200; the body is 12 KiB and says nothing that helps"),
    ];
    checks[3]["holds"] = serde_json::json!([{ "kind": "downtime", "text": "", "until": null }]);
    checks[0]["labels"] = serde_json::json!({ "team": "web" });
    checks[5]["labels"] = serde_json::json!({ "team": "web" });
    picture_of(&checks)
}

fn state_of(picture: Picture) -> State {
    State::new(picture, at(0), jiff::tz::TimeZone::UTC, false)
}

fn press(state: &mut State, code: KeyCode) -> Vec<Ask> {
    state.update(Event::Key(code.into()))
}

fn write(state: &mut State, text: &str) {
    for c in text.chars() {
        press(state, KeyCode::Char(c));
    }
}

fn drawn(state: &mut State, width: u16, height: u16) -> Terminal<TestBackend> {
    state.update(Event::Size(width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, state)).unwrap();
    terminal
}

/// What is seen at this size, without blanks at the ends of lines.
fn seen(state: &mut State, width: u16, height: u16) -> String {
    let shown = drawn(state, width, height).backend().to_string();
    let line = |line: &str| {
        // What the backend says of cells behind wide characters is not seen.
        let cells = line.split_once("\" Hidden").map_or(line, |(cells, _)| cells);
        format!("{}\n", cells.trim_matches('"').trim_end())
    };
    shown.lines().map(line).collect()
}

fn detail() -> Detail<'static> {
    let mut json = serde_json::json!({
        "check": check("shop", "bad", 3, 185, "status is 503, expected 200"),
        "output": "a longer\nstory", "running": false, "duration": "340ms", "skipped": 0, "parent": null,
        "interval": "30s", "retry_interval": "5s", "timeout": "10s", "source": "conf.d/web.yaml:12",
        "depends_on": [], "actions": ["ops"], "hard_state": "bad", "hard_since": at(185), "recovering": 0,
        "incident": { "id": "0123456789abcd", "since": at(185), "worst": "bad" }, "acknowledgement": null,
        "downtimes": [], "targets": [], "recent_actions": [], "recent_notices": [],
    });
    json["check"]["metrics"] = serde_json::json!([
        { "label": "time", "value": 0.5, "unit": "s", "warning": "0.3", "bad": "2", "min": null, "max": null },
    ]);
    serde_json::from_value(json).unwrap()
}

/// The details of `shop`, with the past of its metric.
fn opened() -> State {
    let mut state = state_of(picture());
    assert_eq!(press(&mut state, KeyCode::Enter), [Ask::Tell("shop".to_owned(), true)]);
    let point = |i: u32| monchero_api::types::Point {
        at: at(86_400 - i64::from(i) * 1_800),
        mean: f64::from(i),
        min: 0.0,
        max: 0.0,
        count: 1,
    };
    state.update(Event::Past("shop".to_owned(), vec![(0..48).map(point).collect()]));
    state.update(Event::Told("shop".to_owned(), Ok(Box::new(detail()))));
    state
}

/// Compares with `screens/NAME.txt`; `UPDATE=1` writes what is seen now.
#[track_caller]
fn same(shown: &str, name: &str) {
    let file = format!("{}/agent/src/cli/top/screens/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "UPDATE=1 accepts what is seen now:\n{shown}");
}

#[test]
fn eighty_by_twenty_four() {
    same(&seen(&mut state_of(picture()), 80, 24), "list-80x24");
}

#[test]
fn forty_by_ten() {
    same(&seen(&mut state_of(picture()), 40, 10), "list-40x10");
}

#[test]
fn two_hundred_by_fifty() {
    let shown = seen(&mut state_of(picture()), 200, 50);
    assert!(shown.contains("the body is 12 KiB and says nothing that helps\n"), "{shown}");
    assert!(shown.lines().last().unwrap().ends_with("u unack"), "{shown}");
}

#[test]
fn everything_about_one_check() {
    same(&seen(&mut opened(), 80, 24), "details-80x24");
}

#[test]
fn long_details_are_scrolled_to_their_end_and_no_further() {
    let mut state = opened();
    let before = seen(&mut state, 40, 10);
    for _ in 0..100 {
        press(&mut state, KeyCode::Down);
    }
    let after = seen(&mut state, 40, 10);
    assert!(before != after && after.contains("time"), "{after}");
    press(&mut state, KeyCode::Home);
    assert_eq!(seen(&mut state, 40, 10), before);
}

#[test]
fn questions_are_asked_before_anything_is_done() {
    let mut state = state_of(picture());
    press(&mut state, KeyCode::Char('d'));
    write(&mut state, "new release");
    press(&mut state, KeyCode::Enter);
    write(&mut state, "30");
    assert_eq!(press(&mut state, KeyCode::Enter), []);
    same(&seen(&mut state, 80, 24), "downtime-80x24");
    let small = seen(&mut state, 40, 9);
    assert!(small.contains("> 30") && small.contains("has no unit") && small.contains("new release"), "{small}");
    write(&mut state, "m");
    let half_an_hour = Duration::from_secs(1_800);
    assert_eq!(
        press(&mut state, KeyCode::Enter),
        [Ask::Downtime("shop".to_owned(), half_an_hour, "new release".to_owned())]
    );
    assert!(matches!(state.mode, Mode::List));
    press(&mut state, KeyCode::Char('a'));
    press(&mut state, KeyCode::Enter);
    assert_eq!(press(&mut state, KeyCode::Enter), [Ask::Acknowledge("shop".to_owned(), None, String::new())]);
    press(&mut state, KeyCode::Char('a'));
    press(&mut state, KeyCode::Esc);
    assert!(matches!(state.mode, Mode::List));
}

#[test]
fn help_names_every_key() {
    same(&seen(&mut helped(), 80, 24), "help-80x24");
}

fn helped() -> State {
    let mut state = state_of(picture());
    press(&mut state, KeyCode::Char('?'));
    state
}

#[test]
fn no_checks_and_no_problems_are_said_in_words() {
    assert!(seen(&mut state_of(picture_of(&[])), 80, 24).contains("no checks"));
    let mut state = state_of(picture_of(&[check("a", "okay", 1, 60, "fine")]));
    press(&mut state, KeyCode::Char('p'));
    assert!(seen(&mut state, 80, 24).contains("no problems"));
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "nothing");
    assert!(seen(&mut state, 80, 24).contains("no check fits"));
    assert_eq!(press(&mut state, KeyCode::Enter), []);
    assert_eq!(press(&mut state, KeyCode::Enter), [], "there is nothing to open");
}

#[test]
fn the_last_picture_stays_and_is_marked_when_the_daemon_is_away() {
    let mut state = state_of(picture());
    state.update(Event::Looked(Err("cannot reach the daemon at `/s`: no daemon runs there".to_owned())));
    state.update(Event::Time(at(-60)));
    same(&seen(&mut state, 80, 24), "away-80x24");
    state.update(Event::Looked(Ok(picture())));
    let shown = seen(&mut state, 80, 24);
    assert!(!shown.contains("STALE") && !shown.contains("trying again"), "{shown}");
}

#[test]
fn the_eye_stays_on_the_same_check() {
    let mut state = state_of(picture());
    press(&mut state, KeyCode::Down);
    assert_eq!(state.row().unwrap().name, "api");
    let mut better = picture();
    better.rows.retain(|row| row.name != "shop");
    state.update(Event::Looked(Ok(better)));
    assert_eq!(state.row().unwrap().name, "api");
    state.update(Event::Looked(Ok(picture_of(&[]))));
    assert!(state.row().is_none());
}

#[test]
fn wide_characters_stay_in_their_columns() {
    let checks = vec![
        check("データベース", "bad", 3, 60, "接続できません: 時間切れ 時間切れ 時間切れ 時間切れ 時間切れ 時間切れ"),
        check("größe", "okay", 1, 60, "👩‍👩‍👧 e\u{301} fein"),
    ];
    let shown = seen(&mut state_of(picture_of(&checks)), 80, 24);
    for line in shown.lines() {
        assert!(crate::cli::table::width(line) <= 80, "{line}");
    }
    assert!(shown.contains("> データベース  bad"), "{shown}");
    assert!(shown.contains("…"), "{shown}");
}

#[test]
fn nothing_that_a_terminal_obeys_gets_through() {
    let evil = "\u{1b}]0;x\u{7} \u{1b}[2J \u{202e}abc \u{9b}31m \r\n\t\u{0}\u{7f}";
    let mut picture = picture_of(&[check(evil, "bad", 3, 1, evil)]);
    picture.host = evil.to_owned();
    let mut state = state_of(picture);
    state.update(Event::Done(Err(evil.to_owned())));
    let mut shown = seen(&mut state, 120, 24);
    press(&mut state, KeyCode::Char('a'));
    shown.push_str(&seen(&mut state, 120, 24));
    press(&mut state, KeyCode::Esc);
    press(&mut state, KeyCode::Enter);
    state.update(Event::Told(evil.to_owned(), Err(evil.to_owned())));
    shown.push_str(&seen(&mut state, 120, 24));
    assert!(
        !shown.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)),
        "{shown:?}"
    );
    assert!(shown.contains("\\e[2J"), "{shown}");
}

#[test]
fn ten_thousand_checks_are_scrolled_through() {
    let checks = (0..10_000).map(|i| check(&format!("check-{i:05}"), "okay", 1, 60, "fine")).collect::<Vec<_>>();
    let mut state = state_of(picture_of(&checks));
    assert!(seen(&mut state, 80, 24).contains("line 1 of 10000"));
    press(&mut state, KeyCode::End);
    let shown = seen(&mut state, 80, 24);
    assert!(shown.contains("> check-09999") && shown.contains("check-09981"), "{shown}");
    press(&mut state, KeyCode::PageUp);
    assert_eq!(state.row().unwrap().name, "check-09980");
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "00042");
    assert_eq!(state.row().unwrap().name, "check-00042");
}

#[test]
fn colour_helps_and_says_nothing_alone() {
    let mut state = state_of(picture());
    let plain = seen(&mut state, 80, 24);
    state.colour = true;
    assert_eq!(seen(&mut state, 80, 24), plain);
}

#[test]
fn an_answer_about_another_check_is_not_shown() {
    let mut state = opened();
    state.update(Event::Told("api".to_owned(), Err("nonsense".to_owned())));
    assert!(!seen(&mut state, 80, 24).contains("nonsense"));
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        6 => prop::sample::select("qjk gG/?psaudr".chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        3 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Up, KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::Home,
            KeyCode::End, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Tab, KeyCode::BackTab, KeyCode::Backspace,
            KeyCode::Delete, KeyCode::F(1),
        ]),
    ];
    (code, any::<u8>()).prop_map(|(code, bits)| {
        // Most keys are pressed alone.
        let modifiers = if bits < 200 { KeyModifiers::NONE } else { KeyModifiers::from_bits_truncate(bits) };
        KeyEvent::new(code, modifiers)
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => any_key().prop_map(Event::Key),
        1 => (0_u16..250, 0_u16..60).prop_map(|(width, height)| Event::Size(width, height)),
        1 => (0_usize..40).prop_map(|count| {
            Event::Looked(Ok(picture_of(&(0..count).map(|i| check(&i.to_string(), "bad", 3, 9, "x")).collect::<Vec<_>>())))
        }),
        1 => Just(()).prop_map(|()| Event::Told("shop".to_owned(), Ok(Box::new(detail())))),
        1 => Just(()).prop_map(|()| Event::Looked(Err("away".to_owned()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_keys_in_any_order_lead_astray(events in prop::collection::vec(any_event(), 0..60)) {
        let mut state = state_of(picture());
        let mut size = (80, 24);
        for event in events {
            if let Event::Size(width, height) = event {
                size = (width, height);
            }
            state.update(event);
            prop_assert!(state.at < state.chosen.len().max(1) && state.first <= state.at);
            prop_assert!(state.at < state.first + state.page());
        }
        drawn(&mut state, size.0, size.1);
    }
}
