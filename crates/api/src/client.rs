//! The client that the command line uses: one connection per request, a deadline on each, and errors that say what to do.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use monchero_core::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::types::{
    AcknowledgementRequest, Detail, Done, DowntimePlanned, DowntimeRequest, Downtimes, DrillAnswer, DrillRequest,
    Failure, History, MetricHistory, ReloadSummary, ResultRequest, RunAnswer, RunRequest, SignalRequest, Status,
    SummaryRequest, TestAnswer, TestRequest, Version,
};

/// How long an answer may take that only needs looking up.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer may take that waits for checks to run or for the configuration to be read: longer than any sensible timeout of a
/// check, so that it is the daemon that gives up first.
pub const LONG_DEADLINE: Duration = Duration::from_secs(3_600);
/// The largest answer that is read, in bytes: a hundred thousand checks.
pub const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("cannot reach the daemon at `{}`: {why}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// The daemon answered that it does not do this.
    #[error("{}", failure.error)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why not.
        failure: Failure,
    },
    /// The daemon took too long.
    #[error("the daemon at `{}` has not answered within {}", path.display(), monchero_core::duration::human(*deadline))]
    Late {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        deadline: Duration,
    },
    /// The answer makes no sense.
    #[error("the answer of the daemon at `{}` cannot be used: {why}", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreachable { hint, .. } => Some(hint),
            Self::Refused { failure, .. } => failure.hint.as_deref(),
            Self::Late { .. } => Some("its log says what it is doing: `journalctl -u monchero`"),
            Self::Garbled { .. } => Some(
                "is another version of monchero running there? `monchero reload` does not change versions, a restart does",
            ),
        }
    }
}

/// An answer as it came, and what it means.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    path: PathBuf,
    bytes: Bytes,
    meaning: PhantomData<fn() -> T>,
}

impl<T> Answer<T> {
    /// The JSON as it came.
    pub fn json(&self) -> &[u8] {
        &self.bytes
    }

    /// What it means.
    pub fn value(&self) -> Result<T, ClientError>
    where
        T: DeserializeOwned,
    {
        self.read()
    }

    /// The part of it that `U` knows, which may borrow from it.
    pub fn read<'a, U: Deserialize<'a>>(&'a self) -> Result<U, ClientError> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| ClientError::Garbled { path: self.path.clone(), why: error.to_string() })
    }
}

/// A way to a daemon.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A way to the daemon whose socket is at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the daemon.
    pub async fn version(&self) -> Result<Answer<Version>, ClientError> {
        self.get("/v1/version", &[]).await
    }

    /// The checks that the patterns fit, all if there is none; only those that are not okay if `problems`.
    pub async fn status(&self, patterns: &[String], problems: bool) -> Result<Answer<Status<'static>>, ClientError> {
        let mut query: Vec<(&str, &str)> = patterns.iter().map(|pattern| ("pattern", pattern.as_str())).collect();
        if problems {
            query.push(("problems", "true"));
        }
        self.get("/v1/status", &query).await
    }

    /// Everything about one check.
    pub async fn check(&self, name: &str) -> Result<Answer<Detail<'static>>, ClientError> {
        self.get("/v1/check", &[("name", name)]).await
    }

    /// What happened; the newest `limit` events.
    pub async fn history(
        &self,
        check: Option<&str>,
        since: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Result<Answer<History>, ClientError> {
        let (since, limit) = (since.map(|since| since.to_string()), limit.map(|limit| limit.to_string()));
        let query = [("check", check), ("since", since.as_deref()), ("limit", limit.as_deref())];
        let query: Vec<(&str, &str)> = query.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        self.get("/v1/history", &query).await
    }

    /// One metric over time; the newest `limit` points.
    pub async fn metric_history(
        &self,
        check: &str,
        label: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Answer<MetricHistory>, ClientError> {
        let (since, limit) = (since.to_string(), limit.to_string());
        self.get("/v1/metric-history", &[("check", check), ("label", label), ("since", &since), ("limit", &limit)])
            .await
    }

    /// The downtimes that have not ended.
    pub async fn downtimes(&self) -> Result<Answer<Downtimes>, ClientError> {
        self.get("/v1/downtime", &[]).await
    }

    /// Runs checks now and waits for what they find.
    pub async fn run(&self, checks: Vec<String>) -> Result<Answer<RunAnswer<'static>>, ClientError> {
        self.send(Method::POST, "/v1/run", &[], Some(&RunRequest { checks }), LONG_DEADLINE).await
    }

    /// Hands in a result.
    pub async fn submit(&self, result: &ResultRequest) -> Result<Answer<Done>, ClientError> {
        self.send(Method::POST, "/v1/result", &[], Some(result), DEADLINE).await
    }

    /// Hands in what a job says about itself.
    pub async fn signal(&self, check: &str, signal: &SignalRequest) -> Result<Answer<Done>, ClientError> {
        let path = format!("/v1/checks/{}/signals", percent(check));
        self.send(Method::POST, &path, &[], Some(signal), DEADLINE).await
    }

    /// Sends a target a drill and waits for how that goes.
    pub async fn test(&self, target: &str, state: State) -> Result<Answer<TestAnswer>, ClientError> {
        let path = format!("/v1/targets/{}/test", percent(target));
        let request = TestRequest { state: state.as_str().to_owned() };
        self.send(Method::POST, &path, &[], Some(&request), LONG_DEADLINE).await
    }

    /// How everything is, and what happened since then. It is read as what targets get, which is the same.
    pub async fn summary(&self, since: Timestamp) -> Result<Answer<monchero_core::summary::Summary>, ClientError> {
        self.get("/v1/summary", &[("since", &since.to_string())]).await
    }

    /// Sends a target a summary and waits for how that goes.
    pub async fn send_summary(&self, target: &str, since: Timestamp) -> Result<Answer<TestAnswer>, ClientError> {
        let path = format!("/v1/targets/{}/summary", percent(target));
        let request = SummaryRequest { since: Some(since) };
        self.send(Method::POST, &path, &[], Some(&request), LONG_DEADLINE).await
    }

    /// What would be told and done if a check became that; the targets that would be told now are sent a drill if `send`.
    pub async fn drill(&self, check: &str, state: State, send: bool) -> Result<Answer<DrillAnswer>, ClientError> {
        let path = format!("/v1/checks/{}/drill", percent(check));
        let request = DrillRequest { state: state.as_str().to_owned(), send };
        self.send(Method::POST, &path, &[], Some(&request), LONG_DEADLINE).await
    }

    /// Acknowledges a problem.
    pub async fn acknowledge(&self, request: &AcknowledgementRequest) -> Result<Answer<Done>, ClientError> {
        self.send(Method::POST, "/v1/acknowledgement", &[], Some(request), DEADLINE).await
    }

    /// Takes an acknowledgement back.
    pub async fn unacknowledge(&self, check: &str) -> Result<Answer<Done>, ClientError> {
        self.send(Method::DELETE, "/v1/acknowledgement", &[("check", check)], None::<&()>, DEADLINE).await
    }

    /// Plans a downtime.
    pub async fn add_downtime(&self, request: &DowntimeRequest) -> Result<Answer<DowntimePlanned>, ClientError> {
        self.send(Method::POST, "/v1/downtime", &[], Some(request), DEADLINE).await
    }

    /// Ends a downtime.
    pub async fn end_downtime(&self, id: u64) -> Result<Answer<Done>, ClientError> {
        self.send(Method::DELETE, "/v1/downtime", &[("id", &id.to_string())], None::<&()>, DEADLINE).await
    }

    /// Makes the daemon read its configuration again.
    pub async fn reload(&self) -> Result<Answer<ReloadSummary>, ClientError> {
        self.send(Method::POST, "/v1/reload", &[], None::<&()>, LONG_DEADLINE).await
    }

    async fn get<T>(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer<T>, ClientError> {
        self.send(Method::GET, path, query, None::<&()>, DEADLINE).await
    }

    async fn send<T>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<Answer<T>, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)
                .map_err(|error| self.garbled(format!("the request cannot be written: {error}")))?,
            None => Vec::new(),
        };
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", encode(query)) };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.garbled(format!("the request cannot be written: {error}")))?;
        match tokio::time::timeout(deadline, self.exchange(request)).await {
            Err(_) => Err(ClientError::Late { path: self.path.clone(), deadline }),
            Ok(Err(error)) => Err(error),
            Ok(Ok((status, bytes))) if status.is_success() => {
                Ok(Answer { path: self.path.clone(), bytes, meaning: PhantomData })
            }
            Ok(Ok((status, bytes))) => {
                let failure = serde_json::from_slice(&bytes).unwrap_or_else(|_| Failure {
                    error: format!("the daemon answered with {status}"),
                    ..Failure::default()
                });
                Err(ClientError::Refused { status: status.as_u16(), failure })
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| self.garbled(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await.map_err(|_| self.closed())?;
            let (head, mut body) = response.into_parts();
            let length =
                head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
            let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(MAX_ANSWER));
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
                if bytes.len() + data.len() > MAX_ANSWER {
                    return Err(self.garbled(format!("it is larger than {} MiB", MAX_ANSWER / (1024 * 1024))));
                }
                bytes.extend_from_slice(&data);
            }
            Ok((head.status, Bytes::from(bytes)))
        }
        .await;
        connection.abort();
        answered
    }

    fn garbled(&self, why: String) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), why }
    }

    /// The daemon closes a connection unread when there are too many.
    fn closed(&self) -> ClientError {
        let (why, hint) = ("it closed the connection", "it is stopping, or has too many connections: try again");
        ClientError::Unreachable { path: self.path.clone(), why: why.to_owned(), hint: hint.to_owned() }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let (why, hint) = match error.kind() {
            io::ErrorKind::NotFound => (
                "no daemon runs there".to_owned(),
                "start it with `monchero agent`, or name another socket with `--socket`".to_owned(),
            ),
            io::ErrorKind::ConnectionRefused => (
                "the daemon that made it does not run any more".to_owned(),
                "start it with `monchero agent` or `systemctl start monchero`".to_owned(),
            ),
            io::ErrorKind::PermissionDenied => (
                "you are not allowed to".to_owned(),
                "try `sudo`, or join the group that the socket and its directory belong to".to_owned(),
            ),
            _ => (error.to_string(), "`monchero paths` says which socket is in force and why".to_owned()),
        };
        ClientError::Unreachable { path: self.path.clone(), why, hint }
    }
}

/// A query, percent-encoded.
fn encode(query: &[(&str, &str)]) -> String {
    query.iter().map(|(key, value)| format!("{key}={}", percent(value))).collect::<Vec<_>>().join("&")
}

/// A text, percent-encoded.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_query() {
        assert_eq!(
            encode(&[("name", "grafana[a:3000]"), ("x", "größe & mehr")]),
            "name=grafana%5Ba%3A3000%5D&x=gr%C3%B6%C3%9Fe%20%26%20mehr"
        );
    }
}
