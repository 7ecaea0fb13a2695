//! What the words of `ups.status` mean.

use std::collections::BTreeMap;

use monchero_core::State;

use crate::settings::excerpt;

/// A word of a status.
struct Token {
    word: &'static str,
    /// What it means as long as the user says nothing else.
    state: State,
    /// Whether one sighting is not enough: drivers are known to show it by mistake for a moment.
    confirm: bool,
    /// For a person.
    says: &'static str,
}

const fn token(word: &'static str, state: State, confirm: bool, says: &'static str) -> Token {
    Token { word, state, confirm, says }
}

/// The words that NUT defines. Any other is okay and shown as it stands.
const TOKENS: &[Token] = &[
    token("OL", State::Okay, false, "on line power"),
    token("OB", State::Warning, false, "on battery"),
    token("FSD", State::Bad, false, "shutting down: everything that it feeds is about to lose power"),
    token("LB", State::Bad, true, "battery low"),
    token("OVER", State::Bad, false, "overloaded"),
    token("RB", State::Warning, true, "the battery must be replaced"),
    token("OFF", State::Warning, true, "switched off: it feeds nothing"),
    token("BYPASS", State::Warning, false, "on bypass: it protects nothing"),
    token("ALARM", State::Warning, false, "raises an alarm"),
    token("HB", State::Warning, false, "battery charged too high"),
    token("CAL", State::Okay, false, "calibrating its battery"),
    token("TEST", State::Okay, false, "testing itself"),
    token("CHRG", State::Okay, false, "charging"),
    token("DISCHRG", State::Okay, false, "discharging"),
    token("TRIM", State::Okay, false, "lowering the voltage"),
    token("BOOST", State::Okay, false, "raising the voltage"),
    token("ECO", State::Okay, false, "in economy mode"),
];

/// What a UPS tests by itself runs from the battery and is no outage. Some drivers say so in `ups.test.result` only, and some of those
/// never take it back: so it counts for no longer than the longest self test.
const LONGEST_TEST: i64 = 10 * 60;

/// What is known of the UPS besides its status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Circumstances<'a> {
    /// `ups.test.result`.
    pub(super) test: &'a str,
    /// `ups.alarm`.
    pub(super) alarm: &'a str,
    /// For how many seconds it has been seen on battery before this look.
    pub(super) on_battery: i64,
    /// The words that were seen at the last look.
    pub(super) before: &'a [String],
}

/// What a status means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// None if it says nothing about where the power comes from.
    pub(super) state: Option<State>,
    /// For a person.
    pub(super) text: String,
    /// It runs from the battery, for whatever reason.
    pub(super) on_battery: bool,
    /// It runs from the battery because it tests or calibrates it.
    pub(super) is_test: bool,
    /// The words that the next look must confirm.
    pub(super) to_confirm: Vec<String>,
    /// The words.
    pub(super) words: Vec<String>,
}

/// Judges a status. `own` is what the user says of single words.
pub(super) fn judge(status: &str, own: &BTreeMap<String, State>, seen: Circumstances<'_>) -> Verdict {
    let words: Vec<String> = status.split_ascii_whitespace().take(MAX_WORDS).map(excerpt).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let tests_itself = seen.test.to_ascii_lowercase().contains("in progress") && seen.on_battery <= LONGEST_TEST;
    let is_test = has("CAL") || has("TEST") || tests_itself;
    // A battery that is low while there is no power leaves no time to look twice.
    let is_critical = has("OB") && has("LB") && !is_test;
    let mut verdict = Verdict {
        state: None,
        text: String::new(),
        on_battery: has("OB"),
        is_test,
        to_confirm: Vec::new(),
        words: Vec::new(),
    };
    let mut texts = Vec::new();
    for word in &words {
        let known = TOKENS.iter().find(|token| token.word == word);
        let mut state = own.get(word).copied().or(known.map(|token| token.state)).unwrap_or(State::Okay);
        let mut says = known.map_or_else(|| word.clone(), |token| token.says.to_owned());
        if word == "ALARM" && !seen.alarm.is_empty() {
            says = format!("raises an alarm: {}", excerpt(seen.alarm));
        }
        if is_test && matches!(word.as_str(), "OB" | "DISCHRG" | "LB") {
            state = State::Okay;
        }
        let needs_confirming = known.is_some_and(|token| token.confirm) && !(word == "LB" && is_critical);
        if needs_confirming && state.is_problem() && !seen.before.contains(word) {
            state = State::Okay;
            says.push_str(" (seen once, to be confirmed)");
            verdict.to_confirm.push(word.clone());
        }
        verdict.state = verdict.state.max(Some(state));
        // A UPS on battery discharges, and one on line power that is charging is not worth two words.
        if word != "DISCHRG" || !has("OB") {
            texts.push(says);
        }
    }
    if is_test && !has("CAL") && !has("TEST") {
        texts.push("testing itself".to_owned());
    }
    if !["OL", "OB", "BYPASS", "OFF", "FSD", "CAL"].iter().any(|word| has(word)) && verdict.state == Some(State::Okay) {
        verdict.state = None;
    }
    verdict.text = texts.join(", ");
    verdict.words = words;
    verdict
}

/// How many words of a status are looked at: NUT has 17.
const MAX_WORDS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(status: &str, before: &[&str]) -> Verdict {
        let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        judge(status, &BTreeMap::new(), Circumstances { before: &before, ..Circumstances::default() })
    }

    fn state(status: &str) -> Option<State> {
        judged(status, &[]).state
    }

    #[test]
    fn single_words() {
        for (status, expected) in [
            ("OL", State::Okay),
            ("OL CHRG", State::Okay),
            ("OL TRIM", State::Okay),
            ("OL BOOST", State::Okay),
            ("OL ECO", State::Okay),
            ("OL DISCHRG", State::Okay),
            ("OL NEWWORD", State::Okay),
            ("OL CAL", State::Okay),
            ("OL BYPASS", State::Warning),
            ("OL HB", State::Warning),
            ("ALARM OL", State::Warning),
            ("OB DISCHRG", State::Warning),
            ("OL OVER", State::Bad),
            ("FSD OL", State::Bad),
            ("FSD OB LB", State::Bad),
        ] {
            assert_eq!(state(status), Some(expected), "{status}");
        }
        for status in ["", "WAIT", "CHRG", "  "] {
            assert_eq!(state(status), None, "`{status}` says nothing about the power");
        }
    }

    #[test]
    fn what_drivers_show_by_mistake_is_believed_when_seen_twice() {
        for (status, word, confirmed) in
            [("OL LB", "LB", State::Bad), ("OL RB", "RB", State::Warning), ("OL OFF", "OFF", State::Warning)]
        {
            let first = judged(status, &["OL"]);
            assert_eq!((first.state, &*first.to_confirm), (Some(State::Okay), &[word.to_owned()][..]), "{status}");
            let second = judged(status, &["OL", word]);
            assert_eq!((second.state, second.to_confirm.len()), (Some(confirmed), 0), "{status}");
        }
    }

    #[test]
    fn a_low_battery_without_power_is_bad_at_once() {
        let verdict = judged("OB DISCHRG LB", &["OL"]);
        assert_eq!((verdict.state, verdict.to_confirm.len()), (Some(State::Bad), 0));
        assert_eq!(verdict.text, "on battery, battery low");
    }

    #[test]
    fn tests_are_no_outage() {
        for status in ["OB DISCHRG CAL", "CAL OB LB", "OB TEST"] {
            let verdict = judged(status, &[]);
            assert_eq!(
                (verdict.state, verdict.is_test, verdict.to_confirm.len()),
                (Some(State::Okay), true, 0),
                "{status}"
            );
        }
        let none = BTreeMap::new();
        let seen = |test, on_battery| Circumstances { test, on_battery, ..Circumstances::default() };
        assert_eq!(judge("OB DISCHRG", &none, seen("In progress", 20)).state, Some(State::Okay));
        assert_eq!(judge("OB DISCHRG", &none, seen("In progress", 3_600)).state, Some(State::Warning));
        assert_eq!(judge("OB DISCHRG", &none, seen("Done and passed", 20)).state, Some(State::Warning));
    }

    #[test]
    fn the_user_has_the_last_word() {
        let states = [("OB", State::Bad), ("BYPASS", State::Okay), ("VENDOR", State::Warning)];
        let states: BTreeMap<String, State> =
            states.into_iter().map(|(word, state)| (word.to_owned(), state)).collect();
        let state = |status| judge(status, &states, Circumstances::default()).state.unwrap();
        assert_eq!((state("OB"), state("OL BYPASS"), state("OL VENDOR")), (State::Bad, State::Okay, State::Warning));
    }

    #[test]
    fn fuzzed_status() {
        crate::fuzz::on_text("nut_status", |status| {
            let verdict = judged(status, &["LB"]);
            assert!(
                verdict.words.len() <= MAX_WORDS && verdict.to_confirm.iter().all(|word| verdict.words.contains(word))
            );
            assert!(!verdict.text.chars().any(char::is_control), "{}", verdict.text);
            let has = |word: &str| status.split_ascii_whitespace().take(MAX_WORDS).any(|found| found == word);
            if has("FSD") {
                assert_eq!(verdict.state, Some(State::Bad), "{status:?}");
            }
        });
    }

    proptest! {
        #[test]
        fn any_status_gives_a_bounded_answer(status in any::<String>(), test in any::<String>()) {
            let verdict = judge(&status, &BTreeMap::new(), Circumstances { test: &test, ..Circumstances::default() });
            prop_assert!(verdict.text.len() < 32 * 600);
            prop_assert!(!verdict.text.chars().any(char::is_control));
        }
    }
}
