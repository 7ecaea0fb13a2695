//! What the API stands on: the engine, what the store remembers, and the way to the daemon.

use std::sync::Arc;

use axum::http::StatusCode;
use monchero_core::check::BoxFuture;
use monchero_engine::{Clock, EngineHandle};
use monchero_store::{ReadError, Reader};

use crate::error::ApiError;
use crate::types::ReloadSummary;
use crate::users::Operators;

/// Reads the configuration again. It answers what changed, or what is wrong, each problem rendered with its place; the running set is
/// untouched then.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<ReloadSummary, Vec<String>>> + Send + Sync>;

/// What the API stands on. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    /// All state.
    pub engine: EngineHandle,
    /// The past.
    pub store: Reader,
    /// Who may operate besides root and the daemon's own user.
    pub operators: Option<Operators>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Tells the wall time.
    pub clock: Clock,
    /// The version of the program.
    pub version: &'static str,
}

impl Backend {
    /// Asks the store on a thread that may block.
    pub(crate) async fn ask_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        let failed = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error);
        match tokio::task::spawn_blocking(move || ask(&store)).await {
            Ok(answer) => answer.map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(format!("cannot read the past: {error}"))),
        }
    }
}
