//! Asking a registry about a domain (RFC 9082, RFC 9083), and finding out which one (RFC 9224).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::http::{Document, Url};
use crate::net::{Deadline, Failure};
use crate::settings::excerpt;

/// Which registry is responsible for which domains.
const BOOTSTRAP: &str = "https://data.iana.org/rdap/dns.json";
/// How long that list is used: it changes every few weeks.
const BOOTSTRAP_AGE: Duration = Duration::from_hours(24);
/// How large a document may be, in bytes: IANA's list has 100 KB.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// How many values of a status are kept; there are two dozen in all.
const MAX_STATUS: usize = 30;
/// What the status of a domain says that does not work, or soon will not: as RDAP writes it, the worst first.
const TROUBLES: [&str; 5] = ["pending delete", "redemption period", "pending restore", "server hold", "client hold"];

/// What the registry says: none if there is no such domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registration(pub(super) Option<Facts>);

/// What is known of a domain that is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) expires: Option<Timestamp>,
    /// As RDAP writes it: `client hold`.
    pub(super) status: Vec<String>,
    pub(super) registrar: String,
}

impl Facts {
    /// The worst thing in its status.
    pub(super) fn trouble(&self) -> &'static str {
        TROUBLES.into_iter().find(|trouble| self.status.iter().any(|status| status == trouble)).unwrap_or("none")
    }
}

/// Asks the server, or the one that is responsible. An error is a reason why that could not be found out.
pub(super) async fn ask(name: &str, server: Option<&Url>, deadline: Deadline) -> Result<Registration, String> {
    let server = match server {
        Some(server) => server.clone(),
        None => responsible(name, deadline).await?,
    };
    let Document { status, body, url: from } = get(server.with(&format!("/domain/{name}")), deadline).await?;
    match status {
        200 => {
            let answer: Value = serde_json::from_slice(&body)
                .map_err(|error| format!("{from} does not answer as RDAP does: {}", excerpt(&error.to_string())))?;
            facts(&answer, name).map(|facts| Registration(Some(facts))).map_err(|why| format!("{from} {why}"))
        }
        404 => Ok(Registration(None)),
        429 => Err(format!("{from} refuses to answer: too many questions were asked from this address")),
        other => Err(format!("{from} answers with the status {other}")),
    }
}

/// Gets a document; an error is the reason why it could not be had.
async fn get(url: Url, deadline: Deadline) -> Result<Document, String> {
    let got = Document::get(url, "application/rdap+json, application/json", MAX_BODY, deadline).await;
    got.map_err(|failure| match failure {
        Failure::Bad(why) | Failure::Unable(why) => why,
    })
}

/// URLs of servers, by the ends of the names that they know.
type Servers = BTreeMap<String, String>;

/// The server of the registry that has the longest end of the name.
async fn responsible(name: &str, deadline: Deadline) -> Result<Url, String> {
    static KNOWN: Mutex<Option<(Instant, Arc<Servers>)>> = Mutex::const_new(None);
    let waiting = timeout(deadline.left(), KNOWN.lock()).await;
    let mut known = waiting.map_err(|_| format!("another check waits for {BOOTSTRAP}, which does not come"))?;
    let fresh = known.as_ref().filter(|(since, _)| since.elapsed() < BOOTSTRAP_AGE).map(|(_, list)| Arc::clone(list));
    let list = if let Some(list) = fresh {
        list
    } else {
        let document = get(BOOTSTRAP.parse()?, deadline).await?;
        let list =
            Arc::new(bootstrap(&document.body).ok_or_else(|| format!("{BOOTSTRAP} is not the list that it was"))?);
        *known = Some((Instant::now(), Arc::clone(&list)));
        list
    };
    drop(known);
    let url = server_for(name, &list).ok_or_else(|| {
        let end = name.rsplit('.').next().unwrap_or(name);
        format!("the registry of `.{end}` has no RDAP server in IANA's list: if it has one, name it in `server`")
    })?;
    url.parse()
}

/// Servers by the ends of names: `{"services": [[["com", "net"], ["https://..", "http://.."]], ..]}`.
fn bootstrap(body: &[u8]) -> Option<Servers> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let mut servers = Servers::new();
    for service in list.get("services")?.as_array()? {
        let (ends, urls) = (service.get(0)?.as_array()?, service.get(1)?.as_array()?);
        let urls = || urls.iter().filter_map(Value::as_str);
        let Some(url) = urls().find(|url| url.starts_with("https:")).or_else(|| urls().next()) else { continue };
        servers.extend(ends.iter().filter_map(Value::as_str).map(|end| (end.to_ascii_lowercase(), url.to_owned())));
    }
    (!servers.is_empty()).then_some(servers)
}

fn server_for<'a>(name: &str, list: &'a Servers) -> Option<&'a String> {
    let mut end = name;
    while let Some((_, rest)) = end.split_once('.') {
        if let Some(url) = list.get(rest) {
            return Some(url);
        }
        end = rest;
    }
    None
}

/// What a domain object says (RFC 9083, section 5.3).
fn facts(answer: &Value, name: &str) -> Result<Facts, String> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let given = text(answer, "ldhName").trim_end_matches('.').to_ascii_lowercase();
    if text(answer, "objectClassName") != "domain" || !(given.is_empty() || given == name) {
        return Err(format!("does not answer with the domain {name}, but with `{}`", excerpt(&given)));
    }
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_expiration = |event: &&Value| text(event, "eventAction") == "expiration";
    let expires =
        list(answer, "events").iter().filter(is_expiration).find_map(|event| moment(&text(event, "eventDate")));
    let status = list(answer, "status");
    let status = status.iter().filter_map(Value::as_str).take(MAX_STATUS).map(|status| excerpt(&spaced(status)));
    let is_registrar = |entity: &&Value| list(entity, "roles").iter().any(|role| role.as_str() == Some("registrar"));
    let registrar = list(answer, "entities").iter().find(is_registrar).map(full_name).unwrap_or_default();
    Ok(Facts { expires, status: status.collect(), registrar })
}

/// Some registries write `clientHold`, as EPP does, where RDAP has `client hold` (RFC 8056).
fn spaced(status: &str) -> String {
    let mut spaced = String::new();
    for c in status.chars() {
        if c.is_ascii_uppercase() && spaced.ends_with(|before: char| before.is_ascii_lowercase()) {
            spaced.push(' ');
        }
        spaced.push(c.to_ascii_lowercase());
    }
    spaced
}

/// A moment, or a day.
fn moment(text: &str) -> Option<Timestamp> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse().ok().or_else(|| day().map(|day| day.timestamp()))
}

/// The name in a business card: `["vcard", [["fn", {}, "text", "Registrar Ltd."], ..]]` (RFC 7095).
fn full_name(entity: &Value) -> String {
    let card = entity.pointer("/vcardArray/1").and_then(Value::as_array);
    let name = card.into_iter().flatten().find(|line| line.get(0).and_then(Value::as_str) == Some("fn"));
    name.and_then(|line| line.get(3)).and_then(Value::as_str).map(excerpt).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_registry_with_the_longest_end_is_responsible() {
        let list = br#"{"description":"RDAP bootstrap file for Domain Name System registrations","publication":"2026-05-01T00:00:00Z","services":[
            [["com","net"],["http://plain.example/","https://rdap.verisign.com/com/v1/"]],
            [["uk"],["https://rdap.nominet.uk/uk/"]],[["co.uk"],["https://rdap.example.uk/"]]],"version":"1.0"}"#;
        let list = bootstrap(list).unwrap();
        let server = |name| server_for(name, &list).map(String::as_str);
        assert_eq!(server("example.com"), Some("https://rdap.verisign.com/com/v1/"));
        assert_eq!(server("a.example.co.uk"), Some("https://rdap.example.uk/"));
        assert_eq!(server("example.uk"), Some("https://rdap.nominet.uk/uk/"));
        assert_eq!((server("example.de"), server("com")), (None, None));
        assert_eq!((bootstrap(b"{}"), bootstrap(b"{\"services\":[[1]]}"), bootstrap(b"<html>")), (None, None, None));
    }

    #[test]
    fn registries_write_differently() {
        let answer = json!({ "objectClassName": "domain", "ldhName": "EXAMPLE.ORG.", "status": ["clientHold", "Client Transfer Prohibited"],
            "events": [{ "eventAction": "registration", "eventDate": "1995-08-14T04:00:00Z" }, { "eventAction": "expiration", "eventDate": "2026-08-13" }] });
        let facts = facts(&answer, "example.org").unwrap();
        assert_eq!(facts.status, ["client hold", "client transfer prohibited"]);
        assert_eq!((facts.trouble(), facts.registrar.as_str()), ("client hold", ""));
        assert_eq!(facts.expires, "2026-08-13T00:00:00Z".parse().ok());
        assert!(super::facts(&answer, "example.com").unwrap_err().contains("`example.org`"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "(expiration|registrar|fn|2026-.*|\\PC*)".prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            let key = "(services|events|eventAction|eventDate|status|entities|roles|vcardArray|ldhName)";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_taken(mut answer in any_json()) {
            let _ = bootstrap(answer.to_string().as_bytes());
            if let Value::Object(map) = &mut answer {
                map.insert("objectClassName".to_owned(), "domain".into());
            }
            let _ = facts(&answer, "example.org");
        }
    }
}
