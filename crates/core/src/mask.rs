//! Hides secrets in what comes from outside: a service may repeat what it was sent, a program may print what it was given (R67).

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::action::{ActionError, ActionOutcome, Delivered, DeliveryError};
use crate::check::CheckError;
use crate::node::{SecretSource, Secrets};
use crate::order;
use crate::report::Report;

/// What stands for a secret.
const HIDDEN: &str = "***";
/// Shorter texts are not hidden, in bytes: a word that stands everywhere is no secret, and to hide it would make texts unreadable.
const SHORTEST: usize = 6;
/// So many ends of cut texts are looked at, the last ones: more than one text has, and a service that repeats the sign costs no time.
const MAX_ENDS: usize = 64;
/// A part of an address that is at least this long is taken for a token of its own, in bytes: shorter ones are words and numbers.
const SHORTEST_PART: usize = 16;

/// The secrets of one check or action, in every form in which they are sent. It costs a pointer where there are none.
#[derive(Clone, Default)]
pub struct Mask(Option<Box<Forms>>);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask(..)")
    }
}

/// The longest first, so that nothing is left of one that holds another.
#[derive(Clone)]
struct Forms(Vec<String>);

impl Mask {
    /// Hides these secrets.
    pub(crate) fn of(secrets: &[String]) -> Self {
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        forms.retain(|form| form.len() >= SHORTEST);
        order::sort_by(&mut forms, |a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self((!forms.is_empty()).then(|| Box::new(Forms(forms))))
    }

    /// Hides them in a text.
    pub fn hide(&self, text: &mut String) {
        let Some(forms) = &self.0 else { return };
        for form in &forms.0 {
            if text.contains(form.as_str()) {
                *text = text.replace(form.as_str(), HIDDEN);
            }
            hide_cut(form, text);
        }
    }

    /// Hides them in how a run of a check ended.
    pub(crate) fn report(&self, mut ended: Result<Report, CheckError>) -> Result<Report, CheckError> {
        match &mut ended {
            Ok(report) => self.hide_in_report(report),
            Err(CheckError::Unable(why)) => self.hide(why),
            Err(CheckError::TimedOut(_) | CheckError::Stuck(_) | CheckError::Cancelled) => {}
        }
        ended
    }

    /// Hides them in all that a check says and remembers: names of metrics and services are the words of others too.
    pub(crate) fn hide_in_report(&self, report: &mut Report) {
        if self.0.is_none() {
            return;
        }
        report.message.iter_mut().for_each(|message| self.hide(message));
        self.hide(&mut report.output);
        report.findings.iter_mut().for_each(|finding| self.hide(&mut finding.text));
        report.metrics.iter_mut().for_each(|metric| self.hide_in_box(&mut metric.label));
        report.memory.iter_mut().for_each(|memory| self.hide_in_memory(memory));
        for (name, service) in &mut report.services {
            self.hide(name);
            self.hide_in_report(service);
        }
    }

    fn hide_in_box(&self, text: &mut Box<str>) {
        if let Some(hidden) = self.hidden(text) {
            *text = hidden.into();
        }
    }

    /// The text without them, if it has any.
    fn hidden(&self, text: &str) -> Option<String> {
        let mut hidden = text.to_owned();
        self.hide(&mut hidden);
        (hidden != text).then_some(hidden)
    }

    /// A memory is JSON, of which the numbers stay: a secret of digits may be part of one.
    fn hide_in_memory(&self, memory: &mut Box<str>) {
        let Some(hidden) = self.hidden(memory) else { return };
        *memory = match serde_json::from_str(memory) {
            Ok(mut value) => {
                self.hide_in_value(&mut value);
                value.to_string().into()
            }
            Err(_) => hidden.into(),
        };
    }

    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.hide(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in_value(item)),
            Value::Object(map) => {
                let entries = std::mem::take(map).into_iter().map(|(mut key, mut value)| {
                    self.hide(&mut key);
                    self.hide_in_value(&mut value);
                    (key, value)
                });
                *map = entries.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Hides them in how a delivery ended. A reference that holds one is not kept: the receiver would not know it again with a part of it
    /// hidden, and the next message stands alone without it.
    pub(crate) fn delivered(&self, mut ended: Result<Delivered, DeliveryError>) -> Result<Delivered, DeliveryError> {
        match &mut ended {
            Ok(Delivered { answer, reference }) => {
                self.hide(answer);
                reference.take_if(|reference| self.hidden(reference).is_some());
            }
            Err(DeliveryError::Transient { why, .. } | DeliveryError::Permanent { why }) => self.hide(why),
        }
        ended
    }

    /// Hides them in how a script ended.
    pub(crate) fn outcome(&self, mut ended: Result<ActionOutcome, ActionError>) -> Result<ActionOutcome, ActionError> {
        match &mut ended {
            Ok(ActionOutcome { message, output, .. }) => {
                self.hide(message);
                self.hide(output);
            }
            Err(ActionError(why)) => self.hide(why),
        }
        ended
    }
}

/// A text that was cut to its bound may end in the middle of a secret: at its end, or before `…`.
fn hide_cut(form: &str, text: &mut String) {
    let ends = text.rmatch_indices('…').map(|(at, _)| at).take(MAX_ENDS);
    let ends: Vec<usize> = std::iter::once(text.len()).chain(ends).collect();
    for end in ends {
        let kept = text.get(..end).unwrap_or_default().trim_end();
        let lengths = (SHORTEST..form.len()).rev();
        let left = lengths.filter_map(|length| form.get(..length)).find(|start| kept.ends_with(start));
        if let Some(left) = left {
            text.replace_range(kept.len() - left.len()..kept.len(), HIDDEN);
        }
    }
}

/// The forms in which a secret goes over a wire: as it is, in JSON, in an address or a form, and within base64.
fn forms(secret: &str) -> Vec<String> {
    let mut plain = vec![secret.to_owned()];
    // What is secret about an address stands behind its host.
    if let Some((_, rest)) = secret.split_once("://") {
        let path = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default();
        plain.push(path.to_owned());
        let parts = path.split(['/', '?', '&', '=']).filter(|part| part.len() >= SHORTEST_PART);
        plain.extend(parts.map(str::to_owned));
    }
    let mut all = Vec::new();
    for text in plain {
        let json = Value::from(text.as_str()).to_string();
        all.push(json.trim_matches('"').to_owned());
        all.extend([percent(&text, "%20"), percent(&text, "+")]);
        all.extend((0..3).flat_map(|offset| base64(text.as_bytes(), offset)));
        all.push(text);
    }
    all
}

/// With everything encoded but what RFC 3986 calls unreserved.
fn percent(text: &str, space: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => space.to_owned(),
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What base64 makes of it in a text in which so many bytes (modulo three) stand before it: the letters that do not depend on what
/// stands around it.
fn base64(secret: &[u8], offset: usize) -> [String; 2] {
    let padded = [&[0; 2][..offset.min(2)], secret].concat();
    let (from, to) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)]
        .map(|text| text.get(from..to).unwrap_or_default().to_owned())
}

/// Passes secrets on, and keeps what there was.
pub struct Recorder<'a> {
    secrets: &'a dyn Secrets,
    fetched: RefCell<Vec<String>>,
}

impl<'a> Recorder<'a> {
    /// Passes these on.
    pub fn new(secrets: &'a dyn Secrets) -> Self {
        Self { secrets, fetched: RefCell::default() }
    }

    /// Hides all that was fetched.
    pub fn mask(&self) -> Mask {
        Mask::of(&self.fetched.borrow())
    }
}

impl Secrets for Recorder<'_> {
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String> {
        let text = self.secrets.fetch(source)?;
        self.fetched.borrow_mut().push(text.clone());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn hidden(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let mut text = text.to_owned();
        Mask::of(&secrets).hide(&mut text);
        text
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let secret = "p\"ss w/rd+ü";
        assert_eq!(hidden(&[secret], "login p\"ss w/rd+ü failed"), "login *** failed");
        assert_eq!(hidden(&[secret], r#"{"key":"p\"ss w/rd+ü"}"#), r#"{"key":"***"}"#);
        assert_eq!(hidden(&[secret], "?key=p%22ss%20w%2Frd%2B%C3%BC&x"), "?key=***&x");
        assert_eq!(hidden(&[secret], "key=p%22ss+w%2Frd%2B%C3%BC"), "key=***");
    }

    #[test]
    fn what_is_secret_about_an_address_is_hidden_without_its_host_too() {
        let hook = "https://hooks.example/services/T000/B000/abcdefghijklmnopqrst?key=0123456789abcdef";
        assert_eq!(
            hidden(&[hook], "moved to /services/T000/B000/abcdefghijklmnopqrst?key=0123456789abcdef"),
            "moved to ***"
        );
        assert_eq!(
            hidden(&[hook], "no hook `abcdefghijklmnopqrst` at hooks.example"),
            "no hook `***` at hooks.example"
        );
    }

    #[test]
    fn what_was_cut_leaves_no_beginning() {
        let cut =
            crate::text::shorten(&format!("{} is no valid token-0123456789 {}", "x".repeat(20), "y".repeat(60)), 71);
        assert!(cut.contains("token-"), "{cut}");
        assert!(hidden(&["token-0123456789"], &cut).contains("valid *** …"), "{cut}");
        assert_eq!(hidden(&["token-0123456789"], "invalid token-012"), "invalid ***");
    }

    #[test]
    fn short_words_are_no_secrets() {
        assert_eq!(hidden(&["user", ""], "the user is unknown"), "the user is unknown");
    }

    #[test]
    fn what_is_kept_of_a_run_holds_none() {
        let mask = Mask::of(&["token-0123456789".to_owned(), "4711004711".to_owned()]);
        let metric = |label| crate::Metric::new(label, 4_711_004_711.0, crate::quantity::Unit::NONE);
        let mut report =
            Report { metrics: vec![metric("ups token-0123456789 charge"), metric("load")], ..Report::default() };
        report.services.push(("token-0123456789".to_owned(), Report::of(crate::State::Okay, "token-0123456789")));
        report.remember(&serde_json::json!({ "at": 47_110_047_111_u64, "of token-0123456789": ["x", "4711004711"] }));
        mask.hide_in_report(&mut report);
        let labels: Vec<&str> = report.metrics.iter().map(|metric| &*metric.label).collect();
        assert_eq!(labels, ["ups *** charge", "load"]);
        assert_eq!((&*report.services[0].0, report.services[0].1.message.as_deref()), ("***", Some("***")));
        assert_eq!(report.memory.as_deref(), Some(r#"{"at":47110047111,"of ***":["x","***"]}"#));
    }

    #[test]
    fn a_reference_with_a_secret_is_not_kept() {
        let mask = Mask::of(&["token-0123456789".to_owned()]);
        let kept = |reference: &str| {
            let delivered = Delivered { answer: String::new(), reference: Some(reference.to_owned()) };
            mask.delivered(Ok(delivered)).unwrap().reference
        };
        assert_eq!(kept("1700000000.000100").as_deref(), Some("1700000000.000100"));
        assert_eq!(kept("https://chat.example/token-0123456789/7"), None);
    }

    proptest! {
        /// Whatever stands before and behind it: nothing of a secret is left that somebody could decode.
        #[test]
        fn base64_gives_nothing_away(secret in "[a-zA-Z0-9:/+ü]{12,30}", before in "[a-z]{0,7}", behind in "[a-z]{0,7}") {
            let text = STANDARD.encode(format!("{before}{secret}{behind}"));
            let left = hidden(&[&secret], &format!("Basic {text}"));
            prop_assert!(left.contains("***") && left.len() < "Basic ***".len() + (before.len() + behind.len()) * 2 + 10, "{left}");
        }

        #[test]
        fn nothing_is_left_and_nothing_else_is_touched(secrets in proptest::collection::vec("\\PC{6,20}", 0..4), text in "\\PC{0,40}", at in 0_usize..40) {
            let all: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let cut = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let (before, behind) = text.split_at(cut);
            for secret in &all {
                let left = hidden(&all, &format!("{before}{secret}{behind}"));
                prop_assert!(!left.contains(secret), "{left}");
            }
            prop_assert_eq!(hidden(&[], &text), text);
        }
    }
}
