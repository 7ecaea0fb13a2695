//! Summaries: how everything is, and what happened in a period.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use monchero_core::summary::Tally;

use crate::backend::Backend;
use crate::drill::answer;
use crate::error::ApiError;
use crate::json::{self, Json, Params};
use crate::operate::{done, name};
use crate::types::{Failure, Summary, SummaryRequest, TestAnswer};

/// How far back it looks if nobody says.
const USUAL: SignedDuration = SignedDuration::from_hours(24);

/// How everything is, and what happened in a period.
#[utoipa::path(
    get, path = "/v1/summary",
    params(("since" = Option<String>, Query, description = "From then on (RFC 3339); the last day if missing")),
    responses((status = 200, body = Summary)),
)]
pub(crate) async fn summary(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let since = params.time("since")?;
    params.done()?;
    let picture = backend.engine.picture().await?;
    let mut tally = Tally::new(since.unwrap_or_else(|| a_day_before(picture.now)), picture.now);
    // What is so now is worth telling even if the past cannot be read.
    let tally = backend
        .ask_store(move |store| {
            if let Err(error) = store.tally(&mut tally) {
                tally.fail(error.to_string());
            }
            Ok(tally)
        })
        .await?;
    Ok(json::response(StatusCode::OK, &Summary::from(picture.summarize(tally))))
}

/// Sends a target a summary, and waits for how that goes.
///
/// It goes the way of every message, after the one that is under way, and is tried once.
#[utoipa::path(
    post, path = "/v1/targets/{name}/summary", request_body = SummaryRequest,
    params(("name" = String, Path, description = "The name of the target, percent-encoded")),
    responses(
        (status = 200, body = TestAnswer, description = "It was tried; `delivered` says whether the receiver took it"),
        (status = 404, description = "There is no such target", body = Failure),
        (status = 409, description = "It takes no summaries, or too many messages wait for it", body = Failure),
    ),
)]
pub(crate) async fn send(
    State(backend): State<Backend>,
    Path(target): Path<String>,
    Json(request): Json<SummaryRequest>,
) -> Result<Response, ApiError> {
    let target = name(&target)?;
    let since = request.since.unwrap_or_else(|| a_day_before(backend.clock.now()));
    let outcome = backend.engine.send_summary(target.clone(), since).await?;
    Ok(done(target.to_string(), &answer(target.to_string(), outcome)))
}

fn a_day_before(now: Timestamp) -> Timestamp {
    now.saturating_sub(USUAL).unwrap_or_default()
}
