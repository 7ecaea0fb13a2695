//! `if CONDITION [for N cycles] then ACTION`: what is tested, as settings of a kind.

use std::time::Duration;

use super::super::Setting;
use super::lines::{Statement, Token};

/// A test, taken apart.
pub(super) struct Test {
    pub(super) condition: Statement,
    /// How many cycles it must fail for.
    pub(super) cycles: u64,
    /// The words behind `then`, and behind `else`.
    pub(super) then: Vec<Token>,
    pub(super) otherwise: Vec<Token>,
    /// Whether the cycles may have others between them.
    pub(super) apart: bool,
}

impl Test {
    /// Takes an `if` apart.
    pub(super) fn read(statement: &Statement) -> Result<Self, &'static str> {
        let then = statement.find("then").ok_or("it has no `then`")?;
        let mut condition = statement.tokens.get(1..then).unwrap_or_default().to_vec();
        let mut rest = statement.tokens.get(then + 1..).unwrap_or_default().to_vec();
        let otherwise =
            rest.iter().position(|token| token.lower() == "else").map(|at| rest.split_off(at)).unwrap_or_default();
        let (cycles, apart) = cycles(&mut condition);
        Ok(Self {
            condition: Statement { tokens: condition, place: statement.place.clone() },
            cycles,
            then: rest,
            otherwise,
            apart,
        })
    }
}

/// Takes `for N cycles`, `for N times within M cycles`, `within N cycles` off the end.
fn cycles(tokens: &mut Vec<Token>) -> (u64, bool) {
    let ends = tokens.last().is_some_and(|token| matches!(token.lower().as_str(), "cycle" | "cycles"));
    if !ends {
        return (1, false);
    }
    let numbers: Vec<u64> = tokens.iter().rev().take(6).filter_map(|token| token.text.parse().ok()).collect();
    let times = tokens.iter().rev().take(6).any(|token| matches!(token.lower().as_str(), "times" | "time"));
    let begin = if times { "times" } else { "" };
    let count = if times { numbers.get(1) } else { numbers.first() }.copied().unwrap_or(1).clamp(1, 10_000);
    // The words that belong to it, from the end.
    let belongs = |token: &Token| {
        let word = token.lower();
        ["cycle", "cycles", "times", "time", "within", "for", "in", begin].contains(&word.as_str())
            || word.parse::<u64>().is_ok()
    };
    let mut left = if times { 2 } else { 1 };
    while tokens.last().is_some_and(belongs) {
        let word = tokens.last().map(Token::lower).unwrap_or_default();
        if word.parse::<u64>().is_ok() {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        tokens.pop();
    }
    (count, times)
}

/// What a test becomes.
pub(super) struct Made {
    pub(super) kind: &'static str,
    pub(super) settings: Setting,
    /// What its check is called behind the name of the service.
    pub(super) suffix: String,
    pub(super) timeout: Option<Duration>,
    /// What is not the same as with Monit.
    pub(super) notes: Vec<&'static str>,
}

impl Made {
    pub(super) fn new(kind: &'static str, settings: Setting, suffix: &str) -> Self {
        Self { kind, settings, suffix: suffix.to_owned(), timeout: None, notes: Vec::new() }
    }

    /// Something that is bad under a condition on a field.
    pub(super) fn bad(
        kind: &'static str,
        mut settings: Setting,
        field: &str,
        when: impl Into<Setting>,
        suffix: &str,
    ) -> Self {
        settings.entry("bad").insert(field, when);
        Self::new(kind, settings, suffix)
    }

    pub(super) fn note(mut self, note: &'static str) -> Self {
        self.notes.push(note);
        self
    }
}

/// `with timeout N seconds`.
pub(super) fn timeout(statement: &Statement) -> Option<Duration> {
    let at = statement.find("timeout")?;
    let number: u64 = statement.word(at + 1).parse().ok().filter(|number| (1..=1_000_000).contains(number))?;
    let milliseconds = statement.word(at + 2).to_lowercase().starts_with("milli");
    Some(if milliseconds { Duration::from_millis(number.max(100)) } else { Duration::from_secs(number) })
}

/// `> 80%`, `greater than 100 MB`: an operator, a number and a unit.
pub(super) struct Limit {
    operator: &'static str,
    number: f64,
    unit: String,
}

impl Limit {
    pub(super) fn read(condition: &Statement) -> Result<Self, &'static str> {
        let of = |token: &Token| {
            Some(match token.lower().as_str() {
                ">" | "gt" | "greater" => ">",
                "<" | "lt" | "less" => "<",
                ">=" | "ge" => ">=",
                "<=" | "le" => "<=",
                "=" | "==" | "eq" | "equal" => "==",
                "!=" | "ne" | "notequal" => "!=",
                _ => return None,
            })
        };
        let found = condition.tokens.iter().enumerate().find_map(|(index, token)| Some((index, of(token)?)));
        let (index, operator) = found.ok_or("it has no comparison")?;
        let value = condition.word(index + 1);
        let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
        let (number, unit) = value.split_at(digits);
        let number = number.parse().map_err(|_| "it has no number")?;
        let unit = if unit.is_empty() { condition.word(index + 2) } else { unit };
        Ok(Self { operator, number, unit: unit.to_lowercase() })
    }

    fn with(&self, unit: &str) -> Setting {
        format!("{} {}{unit}", self.operator, self.number).into()
    }

    pub(super) fn number(&self) -> Setting {
        self.with("")
    }

    pub(super) fn is_percent(&self) -> bool {
        self.unit == "%"
    }

    pub(super) fn percent(&self) -> Setting {
        self.with("%")
    }

    /// A size; Monit counts in powers of 1024.
    pub(super) fn size(&self) -> Result<Setting, &'static str> {
        let unit = match self.unit.trim_end_matches("/s") {
            "" | "b" | "byte" | "bytes" => "B",
            "kb" => "KiB",
            "mb" => "MiB",
            "gb" => "GiB",
            "tb" => "TiB",
            _ => return Err("the unit of the size is not known"),
        };
        Ok(self.with(unit))
    }

    /// A span of time.
    pub(super) fn time(&self) -> Result<Setting, &'static str> {
        let unit = match self.unit.as_str() {
            "" | "s" | "second" | "seconds" => "s",
            "minute" | "minutes" => "m",
            "hour" | "hours" => "h",
            "day" | "days" => "d",
            "millisecond" | "milliseconds" => "ms",
            _ => return Err("the unit of the time is not known"),
        };
        Ok(self.with(unit))
    }

    /// The exit status that it is about.
    pub(super) fn status(&self) -> (&'static str, u8) {
        // A test of an exit status that no program has is none.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        (self.operator, self.number.clamp(0.0, 255.0) as u8)
    }
}

/// `failed [host H] port P [type T] [protocol X ..]`.
pub(super) fn port(condition: &Statement, address: &str) -> Result<Made, &'static str> {
    let port = condition.after("port").and_then(|port| port.parse::<u16>().ok()).ok_or("it has no port")?;
    let host = condition.after("host").unwrap_or(address);
    let sort = condition.after("type").unwrap_or("tcp").to_lowercase();
    let protocol = condition.after("protocol").or_else(|| condition.after("proto")).unwrap_or_default().to_lowercase();
    let tls =
        sort == "tcpssl" || condition.find("ssl").is_some() || condition.find("tls").is_some() || protocol == "https";
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = format!("{host}:{port}");
    if sort == "udp" {
        return Err("a port of UDP needs to be asked something: make a check of the kind `udp`, `dns` or `ntp`");
    }
    let suffix = format!("port-{port}");
    let mut made = match protocol.as_str() {
        "http" | "https" => return http(condition, &address, tls, &suffix),
        "smtp" | "smtps" | "imap" | "imaps" | "pop" | "pops" | "ssh" => {
            let kind = match &*protocol {
                "smtp" | "smtps" => "smtp",
                "imap" | "imaps" => "imap",
                "ssh" => "ssh",
                _ => "pop3",
            };
            let mut settings = Setting::map([("address", address.as_str().into())]);
            if kind != "ssh" && (tls || protocol.len() == kind.len() + 1 || protocol == "pops") {
                trust(condition, true, &mut settings);
            }
            Made::new(kind, settings, &suffix)
        }
        "redis" | "memcache" => {
            let kind = if protocol == "redis" { "redis" } else { "memcached" };
            Made::new(kind, Setting::map([("address", address.as_str().into())]), &suffix)
        }
        other => {
            let mut settings = Setting::map([("address", address.as_str().into())]);
            if tls {
                trust(condition, true, &mut settings);
            }
            let made = Made::new("tcp", settings, &suffix);
            if other.is_empty() || other == "default" {
                made
            } else {
                made.note(
                    "only that the port answers is checked; see `monchero kinds` for one that speaks the protocol",
                )
            }
        }
    };
    if condition.find("send").is_some() || condition.find("expect").is_some() {
        made = made.note("`send` and `expect` of the kind `tcp` are set by hand");
    }
    if condition.find("username").is_some() || condition.find("password").is_some() {
        made = made.note("nobody logs in: set that by hand, with the password in a file of its own");
    }
    made.timeout = timeout(condition);
    Ok(made)
}

/// With TLS: Monit trusts any certificate unless it is told to verify.
fn trust(condition: &Statement, tls: bool, settings: &mut Setting) {
    let verifies =
        condition.after("verify:").or_else(|| condition.after("verify")).is_some_and(|word| word.starts_with("enable"));
    if tls && verifies {
        if !matches!(settings, Setting::Map(entries) if entries.iter().any(|(key, _)| key == "url")) {
            settings.insert("tls", true);
        }
    } else if tls {
        settings.insert("tls", Setting::map([("verify", false.into())]));
    }
}

fn http(condition: &Statement, address: &str, tls: bool, suffix: &str) -> Result<Made, &'static str> {
    let path = condition.after("request").unwrap_or("/");
    let address = address.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(address);
    let url = format!(
        "{}://{address}{}{path}",
        if tls { "https" } else { "http" },
        if path.starts_with('/') { "" } else { "/" }
    );
    let mut made = Made::new("http", Setting::map([("url", url.into())]), suffix);
    trust(condition, tls, &mut made.settings);
    expectations(condition, &mut made)?;
    Ok(made)
}

/// `failed url U [content == "re"]`.
pub(super) fn url(condition: &Statement) -> Result<Made, &'static str> {
    let url = condition.after("url").ok_or("it has no URL")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("only URLs of HTTP can be checked");
    }
    let mut made = Made::new("http", Setting::map([("url", url.into())]), "url");
    trust(condition, url.starts_with("https"), &mut made.settings);
    expectations(condition, &mut made)?;
    Ok(made)
}

fn expectations(condition: &Statement, made: &mut Made) -> Result<(), &'static str> {
    if let Some(status) = condition.after("status") {
        if !["=", "=="].contains(&condition.find("status").map_or("", |at| condition.word(at + 1))) {
            return Err("only one status can be expected: write `expect: { status: .. }` by hand");
        }
        made.settings.entry("expect").insert("status", status);
    }
    if let Some(at) = condition.find("content") {
        let key = if condition.word(at + 1) == "!=" { "without" } else { "body" };
        let sign = matches!(condition.word(at + 1), "=" | "==" | "!=");
        let regex = condition.word(at + 1 + usize::from(sign));
        made.settings.entry("expect").insert(key, Setting::map([("regex", regex.into())]));
    }
    if let Some(method) = condition.after("method") {
        made.settings.insert("method", method.to_uppercase());
    }
    if condition.find("certificate").is_some() {
        let days = condition.tokens.iter().rev().find_map(|token| token.text.parse::<u32>().ok()).unwrap_or(1);
        made.settings.entry("bad").insert("certificate", format!("< {days}d"));
    }
    for (word, why) in [
        ("checksum", "a checksum of what is answered is not compared"),
        ("hostheader", "set `headers: { Host: .. }` by hand"),
        ("headers", "set `headers` by hand"),
        ("username", "set `basic` by hand, with the password in a file of its own"),
    ] {
        if condition.find(word).is_some() {
            made.notes.push(why);
        }
    }
    made.timeout = timeout(condition);
    Ok(())
}

/// The owner, group or mode that a file must have.
pub(super) fn owner(condition: &Statement, path: &str) -> Option<Made> {
    let file = || Setting::map([("path", path.into())]);
    let (field, word, suffix) = [("mode", "permission", "mode"), ("owner", "uid", "owner"), ("group", "gid", "group")]
        .into_iter()
        .find(|(_, word, _)| condition.find(word).is_some())?;
    let value = condition.after(word).unwrap_or_default();
    let value = match (field, value) {
        ("mode", digits) => format!("{digits:0>4}"),
        (_, "0") => "root".to_owned(),
        (_, name) => name.to_owned(),
    };
    Some(Made::bad("file", file(), field, format!("!{value}"), suffix))
}
