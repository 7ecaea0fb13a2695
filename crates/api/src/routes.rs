//! The one table of routes, each with the scope that it needs. What is not in the table is not there, and what has no caller is denied.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use futures_util::FutureExt as _;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::{HttpMethod, Info, License, OpenApiBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::backend::Backend;
use crate::error::ApiError;
use crate::{drill, operate, read, summary};

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Look: everybody who can connect to the socket.
    Read,
    /// Change something: root, the user that the daemon runs as, and the members of its group of operators.
    Operate,
}

impl Scope {
    /// The word as it stands in the OpenAPI document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// Who asks, as the kernel says: never as the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user id of the process at the other end.
    pub uid: u32,
    /// Whether that user may change something.
    pub operates: bool,
}

/// What an operation was about, for the log: put into an answer by its handler.
#[derive(Clone, Debug)]
pub(crate) struct Subject(pub(crate) String);

/// A route as it is served.
struct Route {
    scope: Scope,
    path: &'static str,
    serve: fn() -> MethodRouter<Backend>,
}

/// A route as it is described.
struct Described {
    scope: Scope,
    describe: fn() -> UtoipaMethodRouter<Backend>,
}

/// Makes both of one list. They are apart, because only `gen` describes: what it wrote is what the daemon serves, and no code for that has
/// to be in the daemon.
macro_rules! routes_of {
    ($($scope:ident $method:ident $path:literal $($part:ident)::+;)+) => {
        const SERVED: &[Route] = &[$(Route { scope: Scope::$scope, path: $path, serve: || routing::$method($($part)::+) },)+];
        const DESCRIBED: &[Described] = &[$(Described { scope: Scope::$scope, describe: || routes!($($part)::+) },)+];
    };
}

routes_of! {
    Read get "/v1/version" read::version;
    Read get "/v1/openapi.json" read::document;
    Read get "/v1/status" read::status;
    Read get "/v1/check" read::check;
    Read get "/v1/history" read::history;
    Read get "/v1/metric-history" read::metric_history;
    Read get "/v1/downtime" read::downtimes;
    Read get "/v1/summary" summary::summary;
    Operate post "/v1/run" operate::run;
    Operate post "/v1/result" operate::submit;
    Operate post "/v1/checks/{name}/signals" operate::signal;
    Operate post "/v1/acknowledgement" operate::acknowledge;
    Operate delete "/v1/acknowledgement" operate::unacknowledge;
    Operate post "/v1/downtime" operate::add_downtime;
    Operate delete "/v1/downtime" operate::end_downtime;
    Operate post "/v1/reload" operate::reload;
    Operate post "/v1/targets/{name}/test" drill::test;
    Operate post "/v1/targets/{name}/summary" summary::send;
    Operate post "/v1/checks/{name}/drill" drill::drill;
}

/// The router, with the guard of its scope around each route.
pub(crate) fn router(backend: Backend) -> Router {
    let router = SERVED.iter().fold(Router::new(), |router, route| {
        let scope = route.scope;
        let guarded =
            (route.serve)().layer(middleware::from_fn(move |request: Request, next: Next| guard(scope, request, next)));
        router.route(route.path, guarded)
    });
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(catch_panic))
        .with_state(backend)
}

/// The OpenAPI document, as it is checked in: indented, the same for the same program.
pub fn openapi() -> String {
    let mut info = Info::new("monchero", "v1");
    info.description = Some(
        "What a monchero daemon knows and does. The daemon serves it on its Unix socket: \
         `curl --unix-socket /run/monchero/monchero.sock http://localhost/v1/status`. \
         `x-scope` names what a caller must be allowed to do: `read` is for everybody who can connect to the socket, \
         `operate` for root, the user that the daemon runs as, and the members of the group `operators` of its settings."
            .to_owned(),
    );
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    info.license = Some(license);
    let empty = OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build());
    let document = DESCRIBED.iter().fold(empty, |router, route| router.routes(described(route))).into_openapi();
    let mut document = document.to_pretty_json().unwrap_or_else(|error| {
        debug_assert!(false, "the document is plain data: {error}");
        String::new()
    });
    document.push('\n');
    document
}

/// A route with its scope in its description.
fn described(route: &Described) -> UtoipaMethodRouter<Backend> {
    let mut described = (route.describe)();
    for item in described.1.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            operation.extensions = Some(ExtensionsBuilder::new().add("x-scope", route.scope.as_str()).build());
        }
    }
    described
}

/// Every route as it is described: its method, its path and the scope that it needs.
pub fn routes() -> Vec<(HttpMethod, String, Scope)> {
    let mut found = Vec::new();
    for route in DESCRIBED {
        let (_, paths, _) = (route.describe)();
        for (path, item) in paths.paths {
            for (method, operation) in
                [(HttpMethod::Get, item.get), (HttpMethod::Post, item.post), (HttpMethod::Delete, item.delete)]
            {
                if operation.is_some() {
                    found.push((method, path.clone(), route.scope));
                }
            }
        }
    }
    found
}

/// Lets a request through if its caller may do what the route does, and logs every operation with the user who asked for it.
async fn guard(scope: Scope, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().copied();
    if scope == Scope::Read && caller.is_some() {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(caller) = caller.filter(|caller| caller.operates) else {
        let uid = caller.map(|caller| caller.uid);
        tracing::warn!(uid, %method, path, "operation denied");
        return ApiError::new(
            StatusCode::FORBIDDEN,
            format!("the user with id {} may look but not operate", uid.map_or("?".into(), |uid| uid.to_string())),
        )
        .hint("root, the user that the daemon runs as and the members of its group of operators may: try `sudo`")
        .into_response();
    };
    let response = next.run(request).await;
    let subject = response.extensions().get::<Subject>().map_or("", |subject| subject.0.as_str());
    tracing::info!(uid = caller.uid, %method, path, status = response.status().as_u16(), subject, "operation");
    response
}

/// A handler that panics costs its own request only (R59).
async fn catch_panic(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(path, "a request made its handler panic");
        let error = "the daemon made a mistake over this request; its log says more";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
    })
}

async fn no_such_route(State(_): State<Backend>, request: Request) -> ApiError {
    ApiError::not_found(format!("there is no `{}` in this API", request.uri().path()))
        .hint("`GET /v1/openapi.json` describes it")
}

async fn no_such_method(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("`{}` does not take {}", request.uri().path(), request.method()),
    )
    .hint("`GET /v1/openapi.json` describes what it takes")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use monchero_engine::{Clock, EngineHandle};
    use monchero_store::{Store, StoreOptions};
    use tower::ServiceExt as _;

    use super::*;
    use crate::types::{Failure, ReloadSummary};

    const STRANGER: Caller = Caller { uid: 1_234, operates: false };
    const OWNER: Caller = Caller { uid: 0, operates: true };

    /// A backend whose engine has ended: what passes the guard is answered with anything but 403.
    fn backend(dir: &std::path::Path) -> Backend {
        let (store, _) = Store::open(dir, StoreOptions::new(Arc::new(|| jiff::Timestamp::UNIX_EPOCH))).unwrap();
        Backend {
            engine: EngineHandle::new().0,
            store: store.reader(),
            operators: None,
            reload: Arc::new(|| Box::pin(async { Ok(ReloadSummary::default()) })),
            clock: Clock::system(),
            version: "0",
        }
    }

    fn word(method: &HttpMethod) -> &'static str {
        match method {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
            HttpMethod::Delete => "DELETE",
            _ => panic!("a method that the table does not use"),
        }
    }

    async fn ask(router: &Router, method: &str, path: &str, caller: Option<Caller>) -> StatusCode {
        let mut request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        router.clone().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn every_route_asks_for_its_scope() {
        let dir = tempfile::tempdir().unwrap();
        let router = router(backend(dir.path()));
        let listed = routes();
        for (method, path, scope) in &listed {
            let (method, operate) = (word(method), *scope == Scope::Operate);
            assert_eq!(
                operate,
                method != "GET",
                "{method} {path}: what changes something is no GET, and the other way round"
            );
            assert_eq!(
                ask(&router, method, path, None).await,
                StatusCode::FORBIDDEN,
                "{method} {path} without a caller"
            );
            assert_eq!(
                ask(&router, method, path, Some(STRANGER)).await == StatusCode::FORBIDDEN,
                operate,
                "{method} {path}"
            );
            assert_ne!(ask(&router, method, path, Some(OWNER)).await, StatusCode::FORBIDDEN, "{method} {path}");
        }
        let all: Vec<String> = listed.iter().map(|(method, path, _)| format!("{} {path}", word(method))).collect();
        let expected = [
            "GET /v1/version",
            "GET /v1/openapi.json",
            "GET /v1/status",
            "GET /v1/check",
            "GET /v1/history",
            "GET /v1/metric-history",
            "GET /v1/downtime",
            "GET /v1/summary",
            "POST /v1/run",
            "POST /v1/result",
            "POST /v1/checks/{name}/signals",
            "POST /v1/acknowledgement",
            "DELETE /v1/acknowledgement",
            "POST /v1/downtime",
            "DELETE /v1/downtime",
            "POST /v1/reload",
            "POST /v1/targets/{name}/test",
            "POST /v1/targets/{name}/summary",
            "POST /v1/checks/{name}/drill",
        ];
        assert_eq!(all, expected, "a new route is listed here on purpose");
        let served: Vec<&str> = SERVED.iter().map(|route| route.path).collect();
        assert!(listed.iter().map(|(_, path, _)| path.as_str()).eq(served), "served where it is described");
    }

    #[test]
    fn the_document_describes_every_route_and_names_no_unknown_schema() {
        let text = openapi();
        assert_eq!(text, openapi(), "the same every time");
        assert_eq!(text, crate::read::DOCUMENT, "`cargo xtask gen` writes what is served");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (method, path, scope) in routes() {
            let operation = &document["paths"][&path][word(&method).to_lowercase()];
            assert_eq!(operation["x-scope"], scope.as_str(), "{path}");
            assert!(operation["summary"].is_string(), "{path} has a summary");
            assert!(operation["responses"]["200"].is_object(), "{path}");
        }
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_request_only() {
        let broken = Router::new()
            .route("/", get(async || -> StatusCode { panic!("a mistake") }))
            .layer(middleware::from_fn(catch_panic));
        for _ in 0..2 {
            let response = broken.clone().oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(serde_json::from_slice::<Failure>(&body).unwrap().error.contains("made a mistake"));
        }
    }
}
