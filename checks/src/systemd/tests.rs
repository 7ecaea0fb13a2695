use super::*;

fn check(state: &[&str]) -> Systemd {
    let state = OneOrMore(state.iter().map(|state| (*state).to_owned()).collect());
    Systemd {
        unit: Some(OneOrMore(vec!["x".to_owned()])),
        state: Some(state).filter(|state| !state.0.is_empty()),
        bus: system_bus(),
        only: Filter::default(),
        except: Filter::default(),
        warning: Thresholds::default(),
        bad: Thresholds::default(),
    }
}

#[test]
fn states_are_judged() {
    let cases: &[(&[&str], &str, &str, Option<State>)] = &[
        (&[], "loaded", "active", None),
        (&[], "loaded", "reloading", None),
        (&[], "loaded", "refreshing", None),
        (&[], "loaded", "activating", Some(State::Warning)),
        (&[], "loaded", "deactivating", Some(State::Warning)),
        (&[], "loaded", "failed", Some(State::Bad)),
        (&[], "loaded", "inactive", Some(State::Bad)),
        (&[], "not-found", "inactive", Some(State::Bad)),
        (&[], "masked", "inactive", Some(State::Bad)),
        (&[], "bad-setting", "active", Some(State::Bad)),
        (&["active", "inactive"], "loaded", "inactive", None),
        (&["inactive"], "masked", "inactive", None),
        (&["inactive"], "loaded", "active", Some(State::Bad)),
        (&["inactive"], "loaded", "activating", Some(State::Bad)),
        (&["inactive"], "not-found", "inactive", Some(State::Bad)),
    ];
    for (wanted, load, active, state) in cases {
        let unit = Unit { load: (*load).to_owned(), active: (*active).to_owned(), ..Unit::default() };
        let verdict = check(wanted).verdict(&unit);
        assert_eq!(verdict.as_ref().map(|(state, _)| *state), *state, "{wanted:?} {load} {active}: {verdict:?}");
    }
}

#[test]
fn names_get_their_endings() {
    for (name, full) in [
        ("nginx", "nginx.service"),
        ("fstrim.timer", "fstrim.timer"),
        ("dev-disk.by", "dev-disk.by.service"),
        ("getty@tty1", "getty@tty1.service"),
        ("srv-data.mount", "srv-data.mount"),
        ("postgresql@*", "postgresql@*"),
    ] {
        assert_eq!(full_name(name).as_deref(), Ok(full));
    }
    for name in ["", "a b", "nginx;reboot", "ü", "getty@", "getty@.service"] {
        assert!(full_name(name).is_err(), "{name}");
    }
}
