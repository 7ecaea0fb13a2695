//! What `http` expects of an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use monchero_core::Invalid;
use monchero_core::State;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::exchange::Answer;
use super::json::{self, Found, Path, Unreadable};
use super::url::Url;
use super::wanted::Wanted;
use crate::settings::{TextMatch, TextMatches, excerpt};

/// What an answer must be like. Each thing that it is not like is bad.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The status: a number, a class such as `2xx`, a range such as `200-299`, or a list of these. Default: `200-399`.
    #[serde(default)]
    status: Statuses,
    /// What the body must hold: a text, `{ regex: .. }`, or a list of these, all of which must be there.
    #[serde(default)]
    body: TextMatches,
    /// What the body must not hold: a text, `{ regex: .. }`, or a list of these, none of which may be there.
    #[serde(default)]
    without: TextMatches,
    /// What the body must say as JSON: a map from paths to values. A path is a list of keys and of positions in lists (from 0), joined
    /// by dots (`status.code: 0`, `items.0.name: first`), or a JSON path of RFC 9535 (`$.nodes[*].state: up`); if that finds several
    /// values, each must be as expected. A value is compared as it is written, texts with `*` and `?` and a `!` in front for what must
    /// not be, any of a list, numbers with comparisons (`"< 10"`, `"!= 0"`, `"@10:20"` for 10 to 20), or with `{ regex: .. }`. A comparison with a list or an object is
    /// about how many entries it has.
    #[serde(default)]
    json: BTreeMap<String, Wanted>,
    /// The keys of `json`: made by `validate`.
    #[serde(skip)]
    paths: Vec<Path>,
    /// What headers must hold: a map from names to a text or `{ regex: .. }`. Of a header that comes several times, one must hold it.
    #[serde(default)]
    header: BTreeMap<String, TextMatch>,
    /// Where the answer must redirect to: the whole URL, with `*` and `?`, or `{ regex: .. }`. The redirect is not followed then.
    pub(super) redirect: Option<Wanted>,
}

impl Expect {
    /// What cannot be meant.
    pub(super) fn validate(&mut self) -> Result<(), Invalid> {
        let paths: Result<Vec<Path>, String> = self.json.keys().map(|path| path.parse()).collect();
        self.paths = paths.map_err(|why| Invalid::at("expect.json", why))?;
        match self.header.keys().find(|name| hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err()) {
            Some(name) => Err(Invalid::at("expect.header", format!("`{name}` is no name of a header"))),
            None => Ok(()),
        }
    }

    /// Everything that is not as expected of what was answered at a URL.
    pub(super) fn judge(&self, url: &Url, answer: &Answer) -> Vec<(State, String)> {
        let mut wrong = Vec::new();
        if !self.status.holds(answer.status) {
            wrong.push((State::Bad, format!("{}, expected {}", status_text(answer.status), self.status)));
        }
        wrong.extend(self.judge_redirect(url, answer).map(|why| (State::Bad, why)));
        for (name, expected) in &self.header {
            wrong.extend(judge_header(name, expected, &answer.headers).map(|why| (State::Bad, why)));
        }
        self.judge_body(answer, &mut wrong);
        if !self.json.is_empty() {
            self.judge_json(answer, &mut wrong);
        }
        wrong
    }

    fn judge_redirect(&self, url: &Url, answer: &Answer) -> Option<String> {
        let wanted = self.redirect.as_ref()?;
        let Some(location) = answer.location() else {
            return Some(format!("{} redirects nowhere, expected to {wanted}", status_text(answer.status)));
        };
        match url.redirect(&location) {
            Ok(target) if wanted.fits(&target.to_string()) => None,
            Ok(target) => Some(format!("it redirects to `{}`, expected {wanted}", excerpt(&target.to_string()))),
            Err(why) => Some(format!("it {why}")),
        }
    }

    /// What was not read of a body may hold anything: then monchero does not know.
    fn judge_body(&self, answer: &Answer, wrong: &mut Vec<(State, String)>) {
        if self.body.is_empty() && self.without.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&answer.body);
        let first = if answer.is_cut { format!("the first {} of the body do", answer.kept()) } else { String::new() };
        for expected in self.body.iter().filter(|expected| !expected.matches(&text)) {
            wrong.push(if answer.is_cut {
                (State::Unknown, format!("{first} not contain {expected}: raise `max_body`"))
            } else {
                (State::Bad, format!("the body does not contain {expected}"))
            });
        }
        for unwanted in self.without.iter() {
            if unwanted.matches(&text) {
                wrong.push((State::Bad, format!("the body contains {unwanted}")));
            } else if answer.is_cut {
                wrong.push((
                    State::Unknown,
                    format!("{first} not contain {unwanted}, the rest was not read: raise `max_body`"),
                ));
            }
        }
    }

    fn judge_json(&self, answer: &Answer, wrong: &mut Vec<(State, String)>) {
        let paths: Vec<&Path> = self.paths.iter().collect();
        let found = match values(answer, &paths) {
            Ok(found) => found,
            Err(why) => return wrong.push(why),
        };
        for ((path, expected), found) in self.paths.iter().zip(self.json.values()).zip(found) {
            if found.is_empty() {
                wrong.push((State::Bad, format!("{path} is missing, expected {expected}")));
            }
            for one in found {
                let is = match one {
                    Found::Scalar(value) if expected.fits(&value) => continue,
                    Found::Scalar(value) => format!("`{}`", excerpt(&value)),
                    Found::Whole(_, count) if expected.counts(count) => continue,
                    Found::Whole(what, count) => format!("{what} of {count}"),
                };
                wrong.push((State::Bad, format!("{path} is {is}, expected {expected}")));
            }
        }
    }
}

/// What stands at each of the paths in the body of an answer, or what is to be said instead.
pub(super) fn values(answer: &Answer, paths: &[&Path]) -> Result<Vec<Vec<Found>>, (State, String)> {
    if answer.is_cut {
        let kept = answer.kept();
        let why = format!("the body is larger than {kept} and cannot be read as JSON: raise `max_body`");
        return Err((State::Unknown, why));
    }
    json::look(&answer.body, paths).map_err(|why| match why {
        Unreadable::NotJson(why) => (State::Bad, format!("the body is not JSON: {why}")),
        Unreadable::TooLarge => (
            State::Unknown,
            "the body has too many values for a path of RFC 9535: name it by keys, as in `queue.length`".to_owned(),
        ),
    })
}

fn judge_header(name: &str, expected: &TextMatch, headers: &HeaderMap) -> Option<String> {
    let values: Vec<Cow<'_, str>> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    match values.first() {
        None => Some(format!("the header `{name}` is missing")),
        Some(_) if values.iter().any(|value| expected.matches(value)) => None,
        Some(first) => Some(format!("the header `{name}` is `{}`, which does not contain {expected}", excerpt(first))),
    }
}

/// A status as people know it: `404 Not Found`.
pub(super) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// Ranges of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(Vec<(u16, u16)>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl Statuses {
    fn holds(&self, status: StatusCode) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status.as_u16()))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// One status or range of them.
struct StatusRange(u16, u16);

impl std::str::FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(class @ '1'..='9') = text.strip_suffix("xx").and_then(|class| class.parse().ok()) {
            let first = u16::try_from(class.to_digit(10).unwrap_or(0)).unwrap_or(0) * 100;
            return Ok(Self(first, first + 99));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=999).contains(status));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(format!("`{text}` is no status of HTTP and no range of them, as in `200`, `2xx` or `200-299`")),
        }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status, a class such as `2xx`, a range such as `200-299`, or a list of these")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                text.parse().map(|StatusRange(first, last)| Statuses(vec![(first, last)])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
                let mut ranges = Vec::new();
                while let Some(StatusRange(first, last)) = list.next_element()? {
                    ranges.push((first, last));
                }
                if ranges.is_empty() {
                    Err(de::Error::custom("a list without a status accepts nothing"))
                } else {
                    Ok(Statuses(ranges))
                }
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": ["integer", "string"] });
        json_schema!({
            "description": "A status (`200`), a class (`2xx`), a range (`200-299`), or a list of these.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::{HeaderName, HeaderValue};
    use monchero_core::node::{Key, Node, SecretSource, Secrets, Span, Value};

    use super::super::exchange::Times;
    use super::*;

    /// JSON as the reader of the configuration hands it over.
    fn node(json: &serde_json::Value) -> Node {
        let key = |name: &String| Key { span: Span::default(), name: name.as_str().into() };
        let value = match json {
            serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
            serde_json::Value::Object(map) => {
                Value::Map(map.iter().map(|(name, one)| (key(name), node(one))).collect())
            }
            serde_json::Value::String(text) => Value::Scalar { text: text.as_str().into(), quoted: true },
            other => Value::Scalar { text: other.to_string().into(), quoted: false },
        };
        Node { span: Span::default(), value }
    }

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn fetch(&self, _: SecretSource<'_>) -> Result<String, String> {
            Err("there are none".to_owned())
        }
    }

    fn expected() -> Expect {
        let settings = serde_json::json!({
            "status": ["2xx", "418"],
            "body": ["ready", { "regex": "[0-9]+ of [0-9]+" }],
            "without": { "regex": "(a+)+$|fatal" },
            "json": {
                "queue.length": "< 10",
                "queue.items.3.name": "first",
                "$.queue.items[*]": ["!broken", "!1"],
                "$..name": { "regex": "^f" },
                "state": true,
            },
            "header": { "content-type": "json", "server": { "regex": "^(nginx|apache)+" } },
            "redirect": "https://example.org/*",
        });
        let mut expect: Expect = node(&settings).read(None, &NoSecrets).unwrap();
        expect.validate().unwrap();
        expect
    }

    /// What a hostile service may answer: lines of headers, an empty line, a body.
    fn answer(bytes: &[u8], is_cut: bool) -> Answer {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(0);
        let (head, body) = bytes.split_at(end);
        let mut headers = HeaderMap::new();
        for line in head.split(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                headers.append(name, value);
            }
        }
        Answer {
            status: StatusCode::from_u16(100 + u16::from(bytes.first().copied().unwrap_or(0)) * 3).unwrap(),
            headers,
            body: body.to_vec(),
            is_cut,
            times: Times { dns: Duration::ZERO, connect: Duration::ZERO, first_byte: Duration::ZERO },
            address: ([127, 0, 0, 1], 80).into(),
            tls: None,
        }
    }

    #[test]
    fn fuzzed_answers() {
        let expect = expected();
        let url: Url = "https://example.org/x".parse().unwrap();
        crate::fuzz::on_bytes("http_answer", |bytes| {
            for is_cut in [false, true] {
                let answer = answer(bytes, is_cut);
                let wrong = expect.judge(&url, &answer);
                let says_body = |word: &str| String::from_utf8_lossy(&answer.body).contains(word);
                let is_fine = wrong.iter().all(|(_, why)| !why.contains("does not contain `ready`"));
                assert!(says_body("ready") || is_cut || !is_fine, "{wrong:?}");
                for (state, why) in wrong {
                    assert!(state.is_problem() && !why.is_empty() && why.len() < 2_000, "{} bytes", why.len());
                    assert!(!why.chars().any(char::is_control), "{why:?}");
                }
            }
        });
    }
}
