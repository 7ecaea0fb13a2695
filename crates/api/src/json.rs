//! Requests read and answers written: bounded, and with errors that a person can use.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The longest body of a request, in bytes: as much output as is kept of a plugin or a job, and what JSON adds to it.
pub const MAX_BODY: usize = 128 * 1024;
/// How long a client may take to send a body that fits into a few packets.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer of JSON.
pub(crate) fn response(status: StatusCode, value: &impl Serialize) -> Response {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            (StatusCode::INTERNAL_SERVER_ERROR, br#"{"error":"the answer could not be written as JSON"}"#.to_vec())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a request, as JSON. The content type is not asked: `curl -d '{..}'` does the obvious thing.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let reading = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body of a request has at most {} KiB", MAX_BODY / 1024),
                ));
            }
            Ok(Err(error)) => {
                return Err(ApiError::bad_request(format!("cannot read the body of the request: {error}")));
            }
            Err(_) => {
                return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time"));
            }
        };
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            ApiError::bad_request(format!("the body of the request is not what is expected: {error}"))
                .hint("`GET /v1/openapi.json` describes it")
        })
    }
}

/// The query of a request. Each handler takes what it knows and calls [`Params::done`], which refuses the rest.
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::bad_request(format!("cannot read the query: {error}")))?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// All values of a parameter.
    pub(crate) fn all(&mut self, key: &str) -> Vec<String> {
        self.0.extract_if(.., |(name, _)| name == key).map(|(_, value)| value).collect()
    }

    /// The only value of a parameter, if it is there.
    pub(crate) fn one(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.all(key);
        if values.len() > 1 {
            return Err(ApiError::bad_request(format!("the parameter `{key}` is given {} times", values.len())));
        }
        Ok(values.pop())
    }

    /// The only value of a parameter that must be there.
    pub(crate) fn required(&mut self, key: &str) -> Result<String, ApiError> {
        self.one(key)?.ok_or_else(|| ApiError::bad_request(format!("the parameter `{key}` is missing")))
    }

    /// A parameter that is `true` or `false`; false if it is not there.
    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, ApiError> {
        match self.one(key)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!("`{key}` is `true` or `false`, not `{other}`"))),
        }
    }

    /// A moment, if it is there.
    pub(crate) fn time(&mut self, key: &str) -> Result<Option<Timestamp>, ApiError> {
        self.parsed(key, "a moment such as `2026-01-31T12:00:00Z`")
    }

    /// A value that is read from text, if it is there.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, key: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.one(key)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ApiError::bad_request(format!("`{key}` is {expected}, not `{text}`"))),
        }
    }

    /// Refuses what no handler took.
    pub(crate) fn done(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(ApiError::bad_request(format!("there is no parameter `{key}` here"))),
        }
    }
}
