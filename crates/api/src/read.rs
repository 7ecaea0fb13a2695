//! What can be looked at.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use monchero_core::{hold, node};
use monchero_engine::{Row, Snapshot};
use monchero_store::{HistoryQuery, MAX_HISTORY, MAX_POINTS};

use crate::backend::Backend;
use crate::error::ApiError;
use crate::json::{self, Params};
use crate::types::{Detail, Downtimes, Failure, History, MetricHistory, Status, Version};
use crate::view::{self, StatusView};

/// How many events or points are answered if the request does not say.
pub(crate) const USUAL: usize = 1_000;
/// The most patterns of one request: more than fit on a command line that a person writes.
pub(crate) const MAX_PATTERNS: usize = 256;

/// The version of the daemon and of this API.
#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(backend): State<Backend>) -> Response {
    json::response(StatusCode::OK, &Version { version: backend.version.to_owned(), api: "v1".to_owned() })
}

/// What [`crate::openapi`] makes, as it is checked in.
pub(crate) const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "The OpenAPI document", content_type = "application/json")))]
pub(crate) async fn document() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// All checks, or those that are asked for.
///
/// A pattern that fits no check is an error, so that a misspelt name is never mistaken for good news.
#[utoipa::path(
    get, path = "/v1/status",
    params(
        ("pattern" = Option<Vec<String>>, Query, description = "Names or patterns with `*`; a check's name covers its services and instances. May be given several times."),
        ("problems" = Option<bool>, Query, description = "Only checks that are not okay. Checks that have never run are left out."),
    ),
    responses((status = 200, body = Status), (status = 404, description = "A pattern fits no check", body = Failure)),
)]
pub(crate) async fn status(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let patterns = params.all("pattern");
    let problems = params.flag("problems")?;
    params.done()?;
    let snapshot = backend.engine.snapshot().await?;
    let mut rows = matching(&snapshot, &patterns)?;
    if problems {
        rows.retain(|row| view::state(row).found().is_some_and(monchero_core::State::is_problem));
    }
    let worst = rows.iter().filter_map(|row| view::state(row).found()).max().unwrap_or_default().into();
    Ok(json::response(StatusCode::OK, &StatusView { host: &snapshot.host, worst, checks: &rows }))
}

/// The rows that at least one of the patterns fits; all if there is no pattern.
pub(crate) fn matching<'a>(snapshot: &'a Snapshot, patterns: &[String]) -> Result<Vec<&'a Arc<Row>>, ApiError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(ApiError::bad_request(format!("at most {MAX_PATTERNS} patterns, not {}", patterns.len())));
    }
    if patterns.is_empty() {
        return Ok(snapshot.rows.iter().collect());
    }
    let fits = |pattern: &String, row: &Row| hold::matches(pattern, row.name.as_str());
    for pattern in patterns {
        if !snapshot.rows.iter().any(|row| fits(pattern, row)) {
            let near = node::nearest(pattern, snapshot.rows.iter().map(|row| row.name.as_str()));
            return Err(ApiError::no_such_check(pattern, near));
        }
    }
    Ok(snapshot.rows.iter().filter(|row| patterns.iter().any(|pattern| fits(pattern, row))).collect())
}

/// Everything about one check: why it is in its state, what holds its notices, who was told what and will be told when.
#[utoipa::path(
    get, path = "/v1/check",
    params(("name" = String, Query, description = "The name of the check")),
    responses((status = 200, body = Detail), (status = 404, description = "There is no such check", body = Failure)),
)]
pub(crate) async fn check(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let name = params.required("name")?;
    params.done()?;
    let detail = backend.engine.show(&name).await?;
    Ok(json::response(StatusCode::OK, &Detail::from(detail.as_ref())))
}

/// What `limit` says. More than the store answers at once is refused, not cut in silence.
fn limit(params: &mut Params, most: usize) -> Result<usize, ApiError> {
    let limit = params.parsed("limit", "a number")?.unwrap_or(USUAL);
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::bad_request(format!("`limit` is from 1 to {most}, not {limit}"))
            .hint("ask for a shorter time or for one check"))
    }
}

/// What happened: transitions, notices, actions.
#[utoipa::path(
    get, path = "/v1/history",
    params(
        ("check" = Option<String>, Query, description = "Only this check with its services and instances, or a pattern with `*`"),
        ("since" = Option<String>, Query, description = "Only from then on (RFC 3339)"),
        ("limit" = Option<usize>, Query, description = "At most so many, the newest: 1000 if missing, at most 2000"),
    ),
    responses((status = 200, body = History)),
)]
pub(crate) async fn history(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let (check, since) = (params.one("check")?, params.time("since")?);
    let limit = limit(&mut params, MAX_HISTORY)?;
    params.done()?;
    let query = HistoryQuery { check, since, limit };
    let newest_first = backend.ask_store(move |store| store.history(&query)).await?;
    let more = newest_first.len() >= limit;
    let events = newest_first.into_iter().rev().map(Into::into).collect();
    Ok(json::response(StatusCode::OK, &History { events, more }))
}

/// One metric of one check over time.
#[utoipa::path(
    get, path = "/v1/metric-history",
    params(
        ("check" = String, Query, description = "The name of the check"),
        ("label" = String, Query, description = "The label of the metric"),
        ("since" = Option<String>, Query, description = "Only from then on (RFC 3339); the last day if missing"),
        ("limit" = Option<usize>, Query, description = "At most so many points: 1000 if missing, at most 10000; more are put together"),
    ),
    responses((status = 200, body = MetricHistory)),
)]
pub(crate) async fn metric_history(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let (check, label) = (params.required("check")?, params.required("label")?);
    let day = jiff::SignedDuration::from_hours(24);
    let now = backend.clock.now();
    let since = params.time("since")?.unwrap_or_else(|| now.saturating_sub(day).unwrap_or_default());
    let limit = limit(&mut params, MAX_POINTS)?;
    params.done()?;
    let (of, label_of) = (check.clone(), label.clone());
    let points = backend.ask_store(move |store| store.metrics(&of, &label_of, since, now, limit)).await?;
    let points = points.into_iter().map(Into::into).collect();
    Ok(json::response(StatusCode::OK, &MetricHistory { check, label, points }))
}

/// The downtimes that have not ended.
#[utoipa::path(get, path = "/v1/downtime", responses((status = 200, body = Downtimes)))]
pub(crate) async fn downtimes(State(backend): State<Backend>, params: Params) -> Result<Response, ApiError> {
    params.done()?;
    let downtimes = backend.engine.downtimes().await?.into_iter().map(Into::into).collect();
    Ok(json::response(StatusCode::OK, &Downtimes { downtimes }))
}
