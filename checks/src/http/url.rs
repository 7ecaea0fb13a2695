//! The URLs of `http`, and where a redirect leads.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::net::Peer;
use crate::settings::excerpt;

/// An `http` or `https` URL without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether it is `https`.
    pub(super) tls: bool,
    pub(super) peer: Peer,
    /// The path and the query; begins with `/`.
    pub(super) path: String,
}

impl Url {
    /// The same with `path` behind its own; without its query.
    pub(crate) fn with(self, path: &str) -> Self {
        let own = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{own}{path}"), ..self }
    }

    /// The value of the header `Host`.
    pub(super) fn host(&self) -> String {
        let peer = self.peer.to_string();
        let default = if self.tls { ":443" } else { ":80" };
        peer.strip_suffix(default).unwrap_or(&peer).to_owned()
    }

    /// Where a redirect to `location` leads (RFC 3986, section 5.2), or why it is not followed (R73).
    pub(super) fn redirect(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default().trim();
        let scheme = if self.tls { "https" } else { "http" };
        let base = format!("{scheme}://{}", self.peer);
        let directory = || {
            self.path
                .split('?')
                .next()
                .and_then(|path| path.rsplit_once('/'))
                .map_or("", |(directory, _)| directory)
                .to_owned()
        };
        let target = if has_scheme(location) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{base}{}", without_dots(location))
        } else if location.starts_with('?') {
            format!("{base}{}{location}", self.path.split('?').next().unwrap_or_default())
        } else if location.is_empty() {
            format!("{base}{}", self.path)
        } else {
            format!("{base}{}", without_dots(&format!("{}/{location}", directory())))
        };
        let target: Self = target
            .parse()
            .map_err(|why| format!("redirects to `{}`, which is not followed: {why}", excerpt(location)))?;
        if self.tls && !target.tls {
            return Err(format!(
                "redirects from https to `{}`, which is not followed: it gives up TLS",
                excerpt(location)
            ));
        }
        Ok(target)
    }

    /// Whether what is secret between the client and this URL may be sent to the other one too: the same host, and the same port or a
    /// change to TLS on the default ports.
    pub(super) fn shares_secrets_with(&self, other: &Self) -> bool {
        let upgrade = !self.tls && other.tls && self.peer.port == 80 && other.peer.port == 443;
        self.peer.host.eq_ignore_ascii_case(&other.peer.host)
            && (self.peer.port == other.peer.port && self.tls == other.tls || upgrade)
    }
}

/// Whether a reference begins with a scheme (RFC 3986, section 3.1).
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// A path without `.` and `..` (RFC 3986, section 5.2.4); the query stays as it is.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut parts = Vec::new();
    let mut rest = path.split('/').skip(1).peekable();
    while let Some(part) = rest.next() {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
        if rest.peek().is_none() && matches!(part, "." | "..") {
            parts.push("");
        }
    }
    let path = format!("/{}", parts.join("/"));
    query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let shown = || excerpt(text);
        let without_fragment = text.split('#').next().unwrap_or_default();
        if let Some((scheme, _)) = without_fragment.split_once(':')
            && has_scheme(without_fragment)
            && !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(format!("`{}:` is not spoken, only `http` and `https` are", excerpt(scheme)));
        }
        let uri: Uri = without_fragment.parse().map_err(|why| format!("`{}` is no URL: {why}", shown()))?;
        let tls = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            _ => return Err(format!("`{}` does not begin with `http://` or `https://`", shown())),
        };
        let authority = uri.authority().ok_or_else(|| format!("`{}` names no host", shown()))?;
        if authority.as_str().contains('@') {
            // The text is not shown: it holds a password.
            return Err("a URL with a user or a password in it ends up in logs: use the setting `basic`".to_owned());
        }
        let port = match authority.as_str().strip_prefix(uri.host().unwrap_or_default()) {
            Some("" | ":") | None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(_) => uri.port_u16().ok_or_else(|| format!("`{}` has no possible port", shown()))?,
        };
        let peer = format!("{}:{port}", uri.host().unwrap_or_default())
            .parse()
            .map_err(|_| format!("`{}` names no possible host", shown()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, peer, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.host(), self.path)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Url {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://", "description": "An `http://` or `https://` URL." })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn urls() {
        for (text, shown, port) in [
            ("http://a.example", "http://a.example/", 80),
            ("HTTPS://a.example/x?y#z", "https://a.example/x?y", 443),
            ("http://[::1]:8080/", "http://[::1]:8080/", 8080),
            ("https://a.example:443", "https://a.example/", 443),
            ("http://a.example?q", "http://a.example/?q", 80),
        ] {
            let url = url(text);
            assert_eq!((url.to_string().as_str(), url.peer.port), (shown, port), "{text}");
        }
        for text in [
            "",
            "a.example",
            "/x",
            "ftp://a/",
            "http://",
            "http://a:99999/",
            "http://a b/",
            "http://:80/",
            "http://a:0/",
            "file:///etc",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
        let why = "https://me:hunter2@a.example/".parse::<Url>().unwrap_err();
        assert!(why.contains("`basic`") && !why.contains("hunter2"), "{why}");
    }

    #[test]
    fn redirects_lead_where_rfc_3986_says() {
        let base = url("http://a/b/c/d?q");
        for (location, target) in [
            ("http://x/y", "http://x/y"),
            ("https://x", "https://x/"),
            ("//x/y", "http://x/y"),
            ("/g", "http://a/g"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("?y", "http://a/b/c/d?y"),
            ("g?y#s", "http://a/b/c/g?y"),
            ("", "http://a/b/c/d?q"),
            ("..", "http://a/b/"),
            ("../../../g", "http://a/g"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(base.redirect(location).map(|url| url.to_string()).as_deref(), Ok(target), "{location}");
        }
        for location in ["file:///etc/passwd", "javascript:alert(1)", "gopher://x/", "http://u:p@x/", "http://"] {
            assert!(base.redirect(location).is_err(), "{location}");
        }
        assert!(url("https://a/").redirect("http://a/").unwrap_err().contains("gives up TLS"));
    }

    #[test]
    fn secrets_stay_with_their_host() {
        let from = url("http://a/");
        assert!(from.shares_secrets_with(&url("http://A/x")) && from.shares_secrets_with(&url("https://a/")));
        for other in ["http://b/", "http://a:8080/", "https://a:8443/", "http://a.b/"] {
            assert!(!from.shares_secrets_with(&url(other)), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC{0,40}", location in "[-a-z:/?#.%@\\[\\]0-9 ü]{0,30}") {
            let _ = text.parse::<Url>();
            if let Ok(target) = url("https://a.example/b/c?d").redirect(&location) {
                prop_assert!(target.tls && target.path.starts_with('/'));
                prop_assert_eq!(target.to_string().parse::<Url>(), Ok(target));
            }
        }
    }
}
