//! Nagios plugin output against a table, against an independent reading of the same rules, and against nonsense.

use std::fmt::Write as _;

use monchero_core::metric::{MAX_LABEL, MAX_METRICS};
use monchero_core::nagios::{self, Output};
use monchero_core::quantity::Unit;
use monchero_core::{Metric, Range, State};
use proptest::prelude::*;

const TABLE: &str = include_str!("nagios/lines.txt");

/// `\n`, `\t`, `\\`, `\xNN` of the table as bytes.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().expect("something stands behind the backslash") {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => panic!("unknown escape {other}"),
        }
    }
    out
}

/// One metric as the table writes it: label, value, unit, and what else there is.
fn show_metric(metric: &Metric) -> String {
    let value = metric.value.map_or("U".to_owned(), |value| value.to_string());
    let mut out = format!("{{{}}} {value}{}", metric.label, metric.unit);
    for (name, range) in [("w", &metric.warning), ("b", &metric.bad)] {
        if let Some(range) = range {
            let _ = write!(out, " {name}={range}");
        }
    }
    for (name, bound) in [("min", metric.min), ("max", metric.max)] {
        if let Some(bound) = bound {
            let _ = write!(out, " {name}={bound}");
        }
    }
    out
}

/// What was read, as the table writes it.
fn show(output: &Output) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
    let mut out = format!("text [{}]", escape(&output.message));
    if !output.long_output.is_empty() {
        let _ = write!(out, " long [{}]", escape(&output.long_output));
    }
    for metric in &output.metrics {
        let _ = write!(out, "\n  {}", escape(&show_metric(metric)));
    }
    let lost = &output.lost;
    if let Some(first) = &lost.first_malformed {
        let _ = write!(out, "\n  malformed {} first [{}]", lost.malformed, escape(first));
    }
    if lost.doubled + lost.excess > 0 {
        let _ = write!(out, "\n  doubled {} excess {}", lost.doubled, lost.excess);
    }
    out
}

/// The rows of the table: the line of the input, whether it was cut, the input, what is expected.
fn rows() -> Vec<(usize, bool, Vec<u8>, String)> {
    let mut rows: Vec<(usize, bool, Vec<u8>, String)> = Vec::new();
    for (number, line) in TABLE.lines().enumerate() {
        if let Some(input) = line.strip_prefix("<   ") {
            rows.push((number + 1, false, unescape(input), String::new()));
        } else if let Some(input) = line.strip_prefix("<-- ") {
            rows.push((number + 1, true, unescape(input), String::new()));
        } else if let Some(text) = line.strip_prefix("    ") {
            let expected = &mut rows.last_mut().expect("an input stands before").3;
            if !expected.is_empty() {
                expected.push('\n');
            }
            expected.push_str(text);
        } else {
            assert!(line.is_empty() || line.starts_with('#') || line == "<", "line {}: {line}", number + 1);
            if line == "<" {
                rows.push((number + 1, false, Vec::new(), String::new()));
            }
        }
    }
    rows
}

#[test]
fn table() {
    let rows = rows();
    assert!(rows.len() >= 120, "{}", rows.len());
    let mut wrong = String::new();
    for (line, cut, input, expected) in &rows {
        let got = show(&nagios::parse(input, *cut));
        if &got != expected {
            let _ = writeln!(
                wrong,
                "line {line}: {:?}\n  expected\n    {expected}\n  got\n    {got}",
                String::from_utf8_lossy(input)
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// An independent reading of the rules for one line: message, and metrics as the table shows them. It works on characters and whole
/// substrings, slowly and without any state, and shares nothing with the parser but the types.
mod reference {
    use super::*;

    pub(super) fn line(text: &str) -> (String, Vec<String>) {
        let bars: Vec<usize> = text.char_indices().filter(|(_, c)| *c == '|').map(|(at, _)| at).collect();
        let mut skip_to = 0;
        for bar in bars {
            if bar < skip_to {
                continue;
            }
            let sections = sections(&text[bar + 1..]);
            let first: usize = sections[0].1;
            if sections[0].0.iter().any(|item| metric(item).is_some()) {
                let mut kept: Vec<(String, String)> = Vec::new();
                for found in sections.iter().flat_map(|(items, _)| items).filter_map(|item| metric(item)) {
                    if kept.len() < MAX_METRICS
                        && found.0.len() <= MAX_LABEL
                        && kept.iter().all(|(label, _)| *label != found.0)
                    {
                        kept.push(found);
                    }
                }
                return (text[..bar].trim().to_owned(), kept.into_iter().map(|(_, shown)| shown).collect());
            }
            skip_to = bar + 1 + first;
        }
        (text.trim().to_owned(), Vec::new())
    }

    /// What stands between bars outside of quotes: its items, and where it ends.
    fn sections(text: &str) -> Vec<(Vec<String>, usize)> {
        let all: Vec<char> = text.chars().collect();
        let (mut sections, mut items, mut i) = (Vec::new(), Vec::new(), 0);
        let bytes = |i: usize| all[..i].iter().map(|c| c.len_utf8()).sum::<usize>();
        while i < all.len() {
            let begin = i;
            match all[i] {
                ' ' | '\t' => i += 1,
                '|' => {
                    sections.push((std::mem::take(&mut items), bytes(i)));
                    i += 1;
                }
                _ => {
                    if all[i] == '\'' {
                        i = close(&all, i).map_or(i, |close| close + 1);
                    }
                    while i < all.len() && !" \t|".contains(all[i]) {
                        i += 1;
                    }
                    items.push(all[begin..i].iter().collect());
                }
            }
        }
        sections.push((items, text.len()));
        sections
    }

    fn close(all: &[char], open: usize) -> Option<usize> {
        let mut run = 0;
        for at in open + 1..=all.len() {
            match all.get(at) {
                Some('\'') => run += 1,
                _ if run % 2 == 1 => return Some(at - 1),
                _ => run = 0,
            }
        }
        None
    }

    fn metric(item: &str) -> Option<(String, String)> {
        let (label, data) = if item.starts_with('\'') {
            let all: Vec<char> = item.chars().collect();
            let close = close(&all, 0)?;
            let label: String = all[1..close].iter().collect();
            let data: String = all[close + 1..].iter().collect();
            (label.replace("''", "'"), data.strip_prefix('=')?.to_owned())
        } else {
            let head_end = item.find(';').unwrap_or(item.len());
            let (label, value) = item[..head_end].rsplit_once('=')?;
            (label.to_owned(), format!("{value}{}", &item[head_end..]))
        };
        let fields: Vec<&str> = data.split(';').collect();
        let (value, unit) = number(fields[0].strip_suffix(',').unwrap_or(fields[0]))?;
        if label.is_empty() {
            return None;
        }
        let range = |at: usize| {
            let text = fields.get(at)?.trim_end_matches(',').replace(',', ".");
            let range = Range::parse(&text).ok()?;
            let measures = range.dimension().to_string();
            (measures == "a plain number" || measures == Unit::new(&unit).dimension().to_string()).then_some(range)
        };
        let bound = |at: usize| {
            let (value, own) = number(fields.get(at)?.trim_end_matches(','))?;
            value.filter(|_| own.is_empty() || own == unit)
        };
        let metric = Metric {
            label: Box::from(&*label),
            value,
            unit: Unit::new(&unit),
            warning: range(1),
            bad: range(2),
            min: bound(3),
            max: bound(4),
        };
        Some((label, show_metric(&metric)))
    }

    /// The longest beginning that is a number, and a unit behind it.
    fn number(text: &str) -> Option<(Option<f64>, String)> {
        if text == "U" {
            return Some((None, String::new()));
        }
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (value, rest) = ends.iter().rev().find_map(|end| Some((decimal(&text[..*end])?, &text[*end..])))?;
        let unit = rest.len() <= 32
            && !rest.contains(|c: char| c.is_numeric() && c.is_ascii() || c.is_whitespace() || c.is_control());
        (unit && !rest.contains([';', '=', '\'', '"', '|', ',', '.', '+', '-']) && value.is_finite())
            .then(|| (Some(value), rest.to_owned()))
    }

    fn decimal(text: &str) -> Option<f64> {
        let comma = text.matches(',').count();
        let body = text.trim_start_matches(['+', '-']);
        let digits_around_comma = || {
            text.split(',').all(|side| side.contains(|c: char| c.is_ascii_digit()) && !side.contains('.'))
                && text.split_once(',').is_some_and(|(a, b)| {
                    a.ends_with(|c: char| c.is_ascii_digit())
                        && !a.contains('e')
                        && !a.contains('E')
                        && b.starts_with(|c: char| c.is_ascii_digit())
                })
        };
        if comma > 1
            || (comma == 1 && !digits_around_comma())
            || !body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        {
            return None;
        }
        text.replace(',', ".").parse().ok()
    }
}

/// Things that stand in perfdata, whole and broken.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{1,2}=[+-]?[0-9]{1,3}([.,][0-9]{1,2})?(e-?[0-9])?(ms|%|B|MB|x)?",
        "'[a-c '=|;]{0,6}'=[0-9]{1,2}(;[@~]?[0-9]{0,2}:?[0-9]{0,2}%?){0,4}",
        "[a-c]=[0-9](;[-@~:<>=0-9.,%sM]{0,5}){0,6}",
        "[ab'|=; 0-9]{1,6}",
        Just("U".to_owned()),
        Just("|".to_owned()),
        Just("a=U;1;2".to_owned()),
        Just("text".to_owned()),
    ];
    proptest::collection::vec((piece, "[ \t]{0,2}"), 0..8)
        .prop_map(|parts| parts.into_iter().fold("text".to_owned(), |text, (piece, blank)| text + &piece + &blank))
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "[a-z '=|;,.é\u{2028}]{1,12}", ".{0,150}"]
}

fn any_range() -> impl Strategy<Value = Option<Range>> {
    let texts = [
        "80", "10:", "~:5", "10:20", "@10:20", "> 90%", "< 10GiB", ">= 3", "<= 250ms", "== 1", "!= 1", "-5:-1", "1e-9",
        "~:", "@~:",
    ];
    proptest::option::of(prop_oneof![
        proptest::sample::select(texts.to_vec()).prop_map(|text| Range::parse(text).unwrap()),
        (any::<f64>(), any::<f64>()).prop_map(|(a, b)| Range::outside(a, b)),
        (any::<f64>(), any::<f64>()).prop_map(|(a, b)| Range::inside(a, b)),
    ])
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let units = vec!["", "%", "ms", "s", "B", "GiB", "c", "m2", "°C"];
    let unit = prop_oneof![proptest::sample::select(units).prop_map(str::to_owned), ".{0,4}"];
    let bound = || proptest::option::of(any::<f64>());
    (label(), proptest::option::of(any::<f64>()), unit, any_range(), any_range(), bound(), bound()).prop_map(
        |(label, value, unit, warning, bad, min, max)| Metric {
            label: Box::from(label),
            value,
            unit: Unit::new(&unit),
            warning,
            bad,
            min,
            max,
        },
    )
}

fn parse_text(text: &str) -> Output {
    nagios::parse(text.as_bytes(), false)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_readings_agree(text in prop_oneof![pieces(), "[ab'=|;:~@0-9.,eEU%m \t+-]{0,60}"]) {
        let output = parse_text(&text);
        let (message, metrics) = reference::line(&text);
        prop_assert_eq!(&output.message, &message);
        prop_assert_eq!(output.metrics.iter().map(show_metric).collect::<Vec<_>>(), metrics);
        prop_assert_eq!(output.long_output, "");
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300), truncated: bool) {
        let output = nagios::parse(&bytes, truncated);
        prop_assert!(!output.message.contains('\n'));
        prop_assert!(output.metrics.iter().all(|m| m.value.is_none_or(f64::is_finite)));
    }

    #[test]
    fn written_and_read_back_nothing_changes(metrics in proptest::collection::vec(any_metric(), 0..6)) {
        // Labels are numbered so that no two are alike, also when they are cut.
        let number = |(i, metric): (usize, Metric)| Metric { label: Box::from(format!("{i}{}", metric.label)), ..metric };
        let metrics: Vec<Metric> = metrics.into_iter().enumerate().map(number).collect();
        let text = nagios::render(&metrics);
        let read = parse_text(&format!("OK | {text}"));
        prop_assert_eq!(read.metrics.len(), metrics.len(), "{}", text);
        prop_assert_eq!(read.lost.describe(), None);
        prop_assert_eq!(nagios::render(&read.metrics), text);
        for (before, after) in metrics.iter().zip(&read.metrics) {
            prop_assert_eq!(after.value.map(f64::to_bits), before.value.filter(|value| value.is_finite()).map(f64::to_bits));
        }
    }

    #[test]
    fn what_was_read_survives_writing(text in pieces()) {
        let read = parse_text(&text);
        let again = parse_text(&format!("x | {}", nagios::render(&read.metrics)));
        prop_assert_eq!(read.metrics.len(), again.metrics.len());
        for (a, b) in read.metrics.iter().zip(&again.metrics) {
            prop_assert_eq!(&a.label.replace('\t', " "), &*b.label);
            prop_assert_eq!((a.value, &a.unit, a.min, a.max), (b.value, &b.unit, b.min, b.max));
        }
    }

    /// A cut changes no number: what is read of a beginning stands in the whole as well.
    #[test]
    fn a_cut_never_invents(text in pieces(), at in 0usize..80) {
        let whole = parse_text(&text);
        let begin: String = text.chars().take(at).collect();
        let output = nagios::parse(begin.as_bytes(), true);
        prop_assert!(output.metrics.len() <= whole.metrics.len());
        for (of_begin, of_whole) in output.metrics.iter().zip(&whole.metrics) {
            prop_assert_eq!(of_begin, of_whole);
        }
    }
}

#[test]
fn limits_are_kept_and_what_is_beyond_is_counted() {
    let many = (0..10_000).fold("OK |".to_owned(), |text, i| text + &format!(" m{i}={i}"));
    let output = parse_text(&many);
    assert_eq!((output.metrics.len(), output.lost.excess), (MAX_METRICS, 10_000 - MAX_METRICS));
    assert!(output.lost.describe().unwrap().contains("9744 beyond the limits"));

    let long = format!("OK | {}=1 '{}'=2 {}=3 b=4", "x".repeat(MAX_LABEL + 1), "y".repeat(900), "z".repeat(MAX_LABEL));
    let output = parse_text(&long);
    assert_eq!(output.metrics.iter().map(|m| m.label.len()).collect::<Vec<_>>(), [MAX_LABEL, 1]);
    assert_eq!(output.lost.excess, 2);
}

/// Every input of 64 KiB is read in far less than the seconds that a quadratic reading would need.
#[test]
fn hostile_output_takes_no_longer_than_its_length() {
    for piece in [
        "|", "'", "|'", "'|", "a='", "''", "' '", "=", "|'''", "a=1|", "|a", "\n|", "\n'a", "a=1 ", "|a=1\n", "|x ",
        "|'' ",
    ] {
        let input = piece.repeat(64 * 1024 / piece.len());
        let begin = std::time::Instant::now();
        let _ = nagios::parse(input.as_bytes(), true);
        assert!(begin.elapsed().as_millis() < 900, "{piece:?} took {:?}", begin.elapsed());
    }
}

#[test]
fn ranges_are_read_in_the_meaning_of_the_guidelines() {
    let output = parse_text("x | a=11;10;20 b=-1;10 c=5;10: d=15;@10:20 e=300ms;200;0.5s");
    let states: Vec<State> = output.metrics.iter().map(Metric::state).collect();
    assert_eq!(states, [State::Warning; 5]);
}

#[test]
fn ranges_with_units_are_written_in_the_unit_of_the_metric() {
    let mut metric = Metric::new("disk used", 50.0, Unit::new("GiB"));
    metric.warning = Some(Range::parse("< 1TiB").unwrap());
    metric.bad = Some(Range::parse("80").unwrap());
    assert_eq!(nagios::render(&[metric, Metric::new("x", f64::NAN, Unit::NONE)]), "'disk used'=50GiB;1024:;80 x=U");
}

#[test]
fn what_was_lost_is_said() {
    assert_eq!(parse_text("OK | a=1").lost.describe(), None);
    assert_eq!(parse_text("OK | a=1 b=x").lost.describe().unwrap(), "metrics not kept: `b=x` is no metric");
    assert_eq!(
        parse_text("OK | a=1 b=x c a=2").lost.describe().unwrap(),
        "metrics not kept: 2 items are no metrics, the first is `b=x`; 1 with a label that stood before"
    );
}

/// For `cargo test --release -- --ignored speed --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement is read by a person")]
fn speed() {
    for line in [
        "OK",
        "DISK OK - free space: / 80717MiB (86% inode=97%);| /=12934184960B;216442024755;243497277849;0;270552530944\n",
    ] {
        let begin = std::time::Instant::now();
        for _ in 0..200_000 {
            std::hint::black_box(nagios::parse(std::hint::black_box(line.as_bytes()), false));
        }
        eprintln!("{:?} for {line:?}", begin.elapsed() / 200_000);
    }
}
