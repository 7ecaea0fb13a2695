//! The HTTP API of Docker, which Podman speaks too, on a Unix socket: a list of containers, and all about one of them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::host::under;
use crate::net::{Failure, io_text};
use crate::settings::excerpt;

/// How large an answer may be, in bytes: a list of 500 containers with many labels has a quarter of it.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How large the head of an answer may be, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A connection to the socket, on which one question is asked after the other.
pub(super) struct Api {
    socket: PathBuf,
    sender: SendRequest<Empty<Bytes>>,
    /// Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

/// A container, as the list has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: String,
}

/// What is known about one container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) state: String,
    pub(super) health: String,
    pub(super) restarts: u64,
    pub(super) started: Option<Timestamp>,
    pub(super) exit_code: Option<i64>,
    pub(super) image: String,
    pub(super) policy: String,
    pub(super) killed_for_memory: bool,
    /// Why it could not be started; mostly empty.
    pub(super) error: String,
}

impl Details {
    pub(super) fn is_up(&self) -> bool {
        self.state == "running"
    }

    /// Whether its restart policy says that it should run.
    pub(super) fn is_meant_to_run(&self) -> bool {
        let is_done = self.policy == "on-failure" && self.state == "exited" && self.exit_code == Some(0);
        self.policy != "no" && !is_done
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListEntry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: InspectedState,
    #[serde(default)]
    restart_count: u64,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    config: ImageConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    #[serde(default)]
    started_at: String,
    exit_code: Option<i64>,
    #[serde(default, rename = "OOMKilled")]
    killed_for_memory: bool,
    #[serde(default)]
    error: String,
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    image: String,
}

impl From<Inspected> for Details {
    fn from(inspected: Inspected) -> Self {
        let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
        let Inspected { state, restart_count, host_config, config } = inspected;
        // What was never started has a 0 as well; any other number says why it could not be.
        let exit_code = state.exit_code.filter(|code| state.status != "created" || *code != 0);
        Self {
            state: state.status,
            health: or(state.health.map(|health| health.status).unwrap_or_default(), "none"),
            restarts: restart_count,
            started: state.started_at.parse().ok(),
            exit_code,
            image: config.image,
            policy: or(host_config.restart_policy.name, "no"),
            killed_for_memory: state.killed_for_memory,
            error: state.error,
        }
    }
}

impl Api {
    pub(super) async fn connect(sysroot: &Path, socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(under(sysroot, socket)).await.map_err(|error| refused(socket, &error))?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let shaking = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream));
        let (sender, connection) =
            shaking.await.map_err(|error| Failure::Bad(format!("asking {}: {error}", socket.display())))?;
        let mut driver = JoinSet::new();
        // What ended the connection reaches the one who asks, too.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { socket: socket.to_owned(), sender, _driver: driver })
    }

    /// All containers, those that do not run too.
    pub(super) async fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        let entries: Option<Vec<ListEntry>> = self.ask("/containers/json?all=1").await?;
        let entries = entries.ok_or_else(|| self.wrong("it knows no list of containers"))?;
        Ok(entries
            .into_iter()
            .map(|ListEntry { id, names }| {
                let name = names.into_iter().next().unwrap_or_else(|| id.chars().take(12).collect());
                Listed { name: name.trim_start_matches('/').to_owned(), id }
            })
            .collect())
    }

    /// All about one container, unless it is gone.
    pub(super) async fn inspect(&mut self, id: &str) -> Result<Option<Details>, Failure> {
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) || id.is_empty() {
            return Err(self.wrong(&format!("`{}` is no id of a container", excerpt(id))));
        }
        let inspected: Option<Inspected> = self.ask(&format!("/containers/{id}/json")).await?;
        Ok(inspected.map(Details::from))
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::Bad(format!("{} does not answer as Docker or Podman does: {why}", self.socket.display()))
    }

    /// The answer to a question; none if there is no such thing.
    async fn ask<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, Failure> {
        let request = Request::builder().uri(path).header(header::HOST, "localhost").body(Empty::new());
        let request = request.map_err(|error| Failure::Unable(format!("asking for {path}: {error}")))?;
        self.sender.ready().await.map_err(|error| self.wrong(&error.to_string()))?;
        let response = self.sender.send_request(request).await.map_err(|error| self.wrong(&error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.wrong(&error.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => {
                return Err(Failure::Bad(format!(
                    "{} answers {path} with {status}: {}",
                    self.socket.display(),
                    excerpt(&String::from_utf8_lossy(&body))
                )));
            }
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| self.wrong(&error.to_string()))
    }
}

/// Why the socket cannot be used, and what to do.
fn refused(socket: &Path, error: &std::io::Error) -> Failure {
    let doing = format!("connecting to {}: {}", socket.display(), io_text(error));
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::Unable(format!(
            "{doing}; the user of monchero must be root or in the group of the socket, `docker` mostly (whoever is in it can become root)"
        )),
        _ => Failure::Bad(format!("{doing}; is the service running?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_ask_is_told_what_to_do() {
        let why = refused(Path::new("/run/docker.sock"), &ErrorKind::PermissionDenied.into());
        let Failure::Unable(why) = why else { panic!("{why:?}") };
        assert!(
            why.starts_with("connecting to /run/docker.sock: permission denied; the user of monchero must be"),
            "{why}"
        );
    }

    #[test]
    fn podman_leaves_out_what_it_does_not_know() {
        let text = r#"{"State":{"Status":"running","StartedAt":"2026-05-01T10:00:00.5+02:00"},"HostConfig":{"RestartPolicy":{"Name":""}}}"#;
        let details: Details = serde_json::from_str::<Inspected>(text).unwrap().into();
        assert_eq!((details.policy.as_str(), details.health.as_str(), details.exit_code), ("no", "none", None));
        assert_eq!(details.started, "2026-05-01T08:00:00.5Z".parse().ok());
    }
}
