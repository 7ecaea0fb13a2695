//! Why a request is not answered, as JSON: one line, and what to do about it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use monchero_engine::{EngineGone, Refusal};

use crate::json;
use crate::types::Failure;

/// A failure with its HTTP status.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    failure: Failure,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, failure: Failure { error: error.into(), ..Failure::default() } }
    }

    /// The request itself is wrong.
    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What is asked for is not there.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.failure.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn problems(mut self, problems: Vec<String>) -> Self {
        self.failure.problems = problems;
        self
    }

    /// That there is no such check, with the nearest name that there is.
    pub(crate) fn no_such_check(name: &str, near: Option<&str>) -> Self {
        let error = Self::not_found(format!("there is no check `{name}`"));
        error.hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`monchero status` lists all checks".to_owned(),
        })
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchCheck { name, near } => Self::no_such_check(&name, near.as_deref()),
            refusal @ Refusal::TakesNoSignals(_) => Self::new(StatusCode::CONFLICT, refusal.to_string()).hint(
                "`monchero kinds` tells which kinds wait for signals; `monchero submit` hands a result to any check",
            ),
            Refusal::Senseless(why) => Self::new(StatusCode::CONFLICT, why),
            Refusal::Gone(gone) => gone.into(),
        }
    }
}

impl From<EngineGone> for ApiError {
    fn from(gone: EngineGone) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json::response(self.status, &self.failure)
    }
}
