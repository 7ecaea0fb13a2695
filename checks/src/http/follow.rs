//! Asking and following redirects; getting documents for other kinds.

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::Url;
use super::exchange::{Answer, Question, Way, exchange};
use super::request::{next, who_asks};
use crate::net::{Deadline, Failure, Family, TlsSettings};

/// The last answer, and how it was reached.
pub(super) struct End {
    pub(super) answer: Answer,
    pub(super) url: Url,
    pub(super) redirects: u8,
}

/// Asks, and follows at most so many redirects. With none, a redirect is an answer like any other.
pub(super) async fn follow(mut question: Question, way: Way<'_>, most: u8) -> Result<End, Failure> {
    let first = question.url.clone();
    for redirects in 0..=most {
        let answer = exchange(question.clone().with_host(), way).await?;
        match answer.location() {
            Some(location) if most > 0 => question = next(question, &answer, &location)?,
            _ => return Ok(End { answer, url: question.url, redirects }),
        }
    }
    Err(Failure::Bad(format!("{first} leads to more than {most} redirects, the last to {}", question.url)))
}

impl Question {
    fn with_host(mut self) -> Self {
        // The host was parsed as ASCII without blanks, so it is a value.
        if !self.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(&self.url.host())
        {
            self.headers.insert(header::HOST, host);
        }
        self
    }
}

/// A document.
pub(crate) struct Document {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Where it came from in the end.
    pub(crate) url: Url,
}

impl Document {
    /// Gets a document of one of these types and of at most so many bytes.
    pub(crate) async fn get(
        url: Url,
        accept: &'static str,
        max_body: usize,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let tls = TlsSettings::default();
        let way = Way { resolve: None, proxy: None, family: Family::Any, tls: &tls, max_body, deadline };
        let mut headers: HeaderMap = who_asks();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let question = Question { url, method: Method::GET, headers, body: Bytes::new() };
        let End { answer, url, .. } = follow(question, way, super::FIVE).await?;
        if answer.is_cut {
            return Err(Failure::Bad(format!("{url} sends more than {}", answer.kept())));
        }
        Ok(Self { status: answer.status.as_u16(), body: answer.body, url })
    }
}
