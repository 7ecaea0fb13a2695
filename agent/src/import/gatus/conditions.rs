//! `[STATUS] == 200` and the like.

use std::fmt;
use std::time::Duration;

use super::super::Setting;
use super::Draft;

/// A condition: `LEFT OPERATOR RIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    left: String,
    operator: &'static str,
    right: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.operator, self.right)
    }
}

/// A span of time as Go writes it, `48h` or `1m30s`.
pub(super) fn span(text: &str) -> Option<Duration> {
    monchero_core::duration::parse(text).ok()
}

impl Condition {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let operators = [" == ", " != ", " <= ", " >= ", " < ", " > "];
        let (at, operator) = operators.iter().filter_map(|operator| Some((text.find(operator)?, *operator))).min()?;
        let (left, right) = (text.get(..at)?, text.get(at + operator.len()..)?);
        Some(Self { left: left.trim().to_owned(), operator: operator.trim(), right: right.trim().to_owned() })
    }

    /// Adds what it asks for to a check.
    pub(super) fn apply(&self, draft: &mut Draft, url: &str) -> Result<(), &'static str> {
        let is_http = draft.kind == "http";
        match self.left.as_str() {
            "[CONNECTED]" if self.operator == "==" && self.right == "true" => Ok(()),
            "[STATUS]" if is_http => self.status(draft),
            "[STATUS]" if draft.kind == "ssh" => Err("no command is run over SSH"),
            "[RESPONSE_TIME]" => self.time(draft),
            "[CERTIFICATE_EXPIRATION]" => {
                let field = match draft.kind {
                    "http" | "tcp" => "certificate",
                    "tls" => "valid",
                    _ => return Err("there is no certificate"),
                };
                let limit = self.left_over()?;
                put(draft.settings.entry("bad"), field, limit)
            }
            "[DOMAIN_EXPIRATION]" => {
                let host = host(url);
                let labels: Vec<&str> = host.split('.').collect();
                let domain = labels.get(labels.len().saturating_sub(2)..).unwrap_or_default().join(".");
                draft.domain = Some((domain, self.left_over()?));
                Ok(())
            }
            "[DNS_RCODE]" if draft.kind == "dns" && self.operator == "==" => {
                let codes = self.any();
                let codes = one_or_list(codes.into_iter().map(Setting::from).collect());
                put(draft.settings.entry("expect"), "rcode", codes)
            }
            "[BODY]" if draft.kind == "dns" && self.operator == "==" => {
                let value = match pattern(&self.right) {
                    Some(pattern) if glob(pattern).is_none() => return Err(CLASSES),
                    pattern => pattern.unwrap_or(&self.right).trim_end_matches('.'),
                };
                put(draft.settings.entry("expect"), "any", value.into())
            }
            "[BODY]" if is_http => self.body(draft),
            left if is_http
                && (left.starts_with("[BODY]") || left.starts_with("len([BODY]") || left.starts_with("has([BODY]")) =>
            {
                self.json(draft)
            }
            _ => Err("nothing like it can be asked of this kind of check"),
        }
    }

    /// What `any(a, b)` lists, or the value itself.
    fn any(&self) -> Vec<&str> {
        match self.right.strip_prefix("any(").and_then(|rest| rest.strip_suffix(')')) {
            Some(list) => list.split(',').map(str::trim).collect(),
            None => vec![self.right.as_str()],
        }
    }

    /// The statuses that are left by all conditions about them.
    fn status(&self, draft: &mut Draft) -> Result<(), &'static str> {
        let listed = self.any();
        let expect = draft.settings.entry("expect");
        if matches!(expect, Setting::Map(entries) if entries.iter().any(|(key, _)| key == "status")) {
            return Err(TWICE);
        }
        if listed.len() > 1 && self.operator == "==" {
            if draft.status.is_some() {
                return Err(TWICE);
            }
            let list: Vec<Setting> = listed.into_iter().map(|code| Setting::Plain(code.to_owned())).collect();
            expect.insert("status", Setting::List(list));
            return Ok(());
        }
        let code: u16 =
            self.right.parse().ok().filter(|code| (100..=599).contains(code)).ok_or("this is no status of HTTP")?;
        let (from, to) = draft.status.unwrap_or((100, 599));
        let (from, to) = match self.operator {
            "==" => (code, code),
            "<" => (from, to.min(code - 1)),
            "<=" => (from, to.min(code)),
            ">" => (from.max(code + 1), to),
            ">=" => (from.max(code), to),
            _ => return Err("write the statuses that are right into `expect: { status: .. }`"),
        };
        if from > to {
            return Err("no status is left");
        }
        draft.status = Some((from, to));
        Ok(())
    }

    /// `< 300`: milliseconds, or a span.
    fn time(&self, draft: &mut Draft) -> Result<(), &'static str> {
        let span = self
            .right
            .parse()
            .ok()
            .map(Duration::from_millis)
            .or_else(|| span(&self.right))
            .ok_or("this is no time")?;
        let opposite = match self.operator {
            "<" => ">=",
            "<=" => ">",
            _ => return Err("only an upper limit of the time can be set"),
        };
        let when = format!("{opposite} {}", unit(span));
        put(draft.settings.entry("bad"), "time", when.into())
    }

    /// `> 48h`: when too little is left.
    fn left_over(&self) -> Result<Setting, &'static str> {
        let span = span(&self.right).ok_or("this is no time")?;
        let opposite = match self.operator {
            ">" => "<=",
            ">=" => "<",
            _ => return Err("only what must be left can be asked for"),
        };
        Ok(format!("{opposite} {}", unit(span)).into())
    }

    fn body(&self, draft: &mut Draft) -> Result<(), &'static str> {
        let key = match self.operator {
            "==" => "body",
            "!=" => "without",
            _ => return Err("the body is a text"),
        };
        if self.right.starts_with("any(") {
            return Err("write `expect: { body: { regex: .. } }`");
        }
        let asked = match pattern(&self.right) {
            Some(pattern) => {
                let inner = pattern.trim_matches('*');
                let glob = glob(pattern).ok_or(CLASSES)?;
                let contains = pattern.starts_with('*') && pattern.ends_with('*') && !inner.contains(['*', '?']);
                if contains { Setting::from(inner) } else { body(&glob) }
            }
            None => body(&escape(&self.right)),
        };
        let expect = draft.settings.entry("expect");
        match expect {
            Setting::Map(entries) if entries.iter().any(|(known, _)| known == key) => match expect.entry(key) {
                Setting::List(list) => list.push(asked),
                other => *other = Setting::List(vec![other.clone(), asked]),
            },
            _ => expect.insert(key, asked),
        }
        Ok(())
    }

    fn json(&self, draft: &mut Draft) -> Result<(), &'static str> {
        let (path, function) = match self.left.split_once('(') {
            Some((function, rest)) => (rest.trim_end_matches(')'), function),
            None => (self.left.as_str(), ""),
        };
        let path = path.trim_start_matches("[BODY]");
        let path = if path.starts_with('[') {
            format!("${path}")
        } else {
            path.trim_start_matches('.').replace('[', ".").replace(']', "")
        };
        if path.is_empty() {
            return Err("write it as a JSON path of `expect: { json: .. }`");
        }
        let value = match (function, self.operator) {
            ("has", "==") if self.right == "true" => "*".into(),
            ("has", _) => return Err("that something is not there cannot be asked for"),
            ("len", operator) => format!("{operator} {}", self.right).into(),
            ("", "==") => match self.any() {
                list if list.len() > 1 => Setting::List(list.into_iter().map(plain).collect()),
                _ => match pattern(&self.right) {
                    Some(pattern) => {
                        let glob = glob(pattern).ok_or(CLASSES)?;
                        if is_special(pattern) { regex(&glob) } else { pattern.into() }
                    }
                    None => plain(&self.right),
                },
            },
            ("", "!=") => one_or_list(self.any().into_iter().map(other_than).collect::<Result<_, _>>()?),
            ("", operator) if self.right.parse::<f64>().is_ok() => format!("{operator} {}", self.right).into(),
            _ => return Err("only numbers can be compared"),
        };
        put(draft.settings.entry("expect").entry("json"), &path, value)?;
        if function == "len" {
            return Err("it is about how many entries a list has; if it is a text, write `{ regex: .. }` by hand");
        }
        Ok(())
    }
}

/// Why a condition is not added to another one.
const TWICE: &str = "something is asked of the same value already: make a second check";

/// Sets what must not be set yet: nothing that was asked for is replaced.
fn put(map: &mut Setting, key: &str, value: Setting) -> Result<(), &'static str> {
    match map {
        Setting::Map(entries) if entries.iter().any(|(known, _)| known == key) => Err(TWICE),
        _ => {
            map.insert(key, value);
            Ok(())
        }
    }
}

/// A value that is compared as it is, also where it looks like a pattern or a comparison.
fn plain(value: &str) -> Setting {
    if value.contains(['*', '?']) || is_special(value) { regex(&escape(value)) } else { value.into() }
}

/// Whether a text looks like a comparison.
fn is_special(text: &str) -> bool {
    text.starts_with(['!', '<', '>', '=', '@'])
}

/// Any value but this one.
fn other_than(value: &str) -> Result<Setting, &'static str> {
    match pattern(value) {
        Some(pattern) if glob(pattern).is_none() => Err(CLASSES),
        Some(pattern) => Ok(format!("!{pattern}").into()),
        None if value.contains(['*', '?']) || value.starts_with('=') => {
            Err("that a text with `*`, `?` or `=` is not there cannot be asked for")
        }
        None => Ok(format!("!{value}").into()),
    }
}

/// What stands in `pat(..)`.
fn pattern(text: &str) -> Option<&str> {
    text.strip_prefix("pat(")?.strip_suffix(')')
}

/// A text as a regular expression for exactly it.
fn escape(text: &str) -> String {
    let special = |c: char| "\\.+*?()|[]{}^$#&-~".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

const CLASSES: &str = "a pattern with `[` or a backslash is written as `{ regex: .. }`";

/// A pattern with `*` and `?` as a regular expression; none if it has classes of characters.
fn glob(pattern: &str) -> Option<String> {
    let part = |part: &str| part.split('?').map(escape).collect::<Vec<_>>().join(".");
    (!pattern.contains(['[', '\\'])).then(|| pattern.split('*').map(part).collect::<Vec<_>>().join(".*"))
}

/// A body as a whole: without what is blank around it, as Gatus takes it, and with all its lines.
fn body(inner: &str) -> Setting {
    Setting::map([("regex", format!(r"(?s)^\s*{inner}\s*$").into())])
}

fn regex(inner: &str) -> Setting {
    Setting::map([("regex", format!("^{inner}$").into())])
}

fn one_or_list(mut list: Vec<Setting>) -> Setting {
    if list.len() == 1 { list.remove(0) } else { Setting::List(list) }
}

/// A span in one unit, as limits have it.
fn unit(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if span.subsec_nanos() > 0 => format!("{}ms", span.as_millis()),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ => format!("{seconds}s"),
    }
}

/// The host of a URL.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.split(':').next().unwrap_or_default()
}
