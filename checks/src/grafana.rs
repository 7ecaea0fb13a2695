//! `grafana`: whether Grafana is healthy and reaches its database.

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::Field;
use monchero_core::{CheckError, Invalid, Report, Secret, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::{Basic, FIELDS, Http, ProxySetting, Service, Settings, Url};
use crate::net::{Family, TlsSettings};
use crate::settings::excerpt;

const SERVICE: Service = Service { path: "/api/health", praise: "Grafana is healthy", fault };

/// Whether Grafana is healthy: `GET /api/health` answers with status 200 and JSON whose `database` is `ok`.
///
/// Bad are any other status, an answer that is no JSON, a database that is not `ok`, and a Grafana that does not answer. Up to five
/// redirects are followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grafana {
    /// The URL of Grafana, without `/api/health`: `http://grafana.example:3000`, `https://proxy.example/grafana`.
    url: Url,
    /// User and password (HTTP Basic), as a proxy before Grafana asks for.
    basic: Option<Basic>,
    /// A token (`Authorization: Bearer`).
    bearer: Option<Secret>,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// The proxy through which Grafana is asked: `http://proxy.example:3128`, or a map of `url`, `user` and `password`. Default: `none`.
    #[serde(default)]
    proxy: ProxySetting,
    /// How TLS is spoken with `https`: a map of `server_name`, `ca`, `verify`, `certificate` and `key`.
    #[serde(default)]
    tls: TlsSettings,
    /// When it is a warning. A single range is about `time`; a map has ranges for the fields of `http`: `time`, `first_byte`,
    /// `certificate` and the others. Without a word about it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
    /// The check that asks: made by `validate`.
    #[serde(skip)]
    http: Option<Http>,
}

impl CheckKind for Grafana {
    const NAME: &'static str = "grafana";
    const LOOKS: Looks = Looks::At("url");
    const EXAMPLE: &'static str = "{ url: \"http://grafana.example:3000\" }";
    const SHORT_FOR: Option<&'static str> = Some("url");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.http = Some(SERVICE.http(Settings {
            url: self.url.clone(),
            headers: BTreeMap::new(),
            basic: self.basic.take(),
            bearer: self.bearer.take(),
            family: self.family,
            proxy: std::mem::take(&mut self.proxy),
            tls: self.tls.clone(),
            warning: std::mem::take(&mut self.warning),
            bad: std::mem::take(&mut self.bad),
        })?);
        Ok(())
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        SERVICE.run(self.http.as_ref(), context).await
    }
}

fn fault(body: &[u8]) -> Option<String> {
    /// What is read of an answer.
    #[derive(Deserialize)]
    struct Health {
        database: Option<serde_json::Value>,
    }
    let health: Health = match serde_json::from_slice(body) {
        Ok(health) => health,
        Err(_) => return Some(format!("Invalid JSON response: {}", excerpt(&String::from_utf8_lossy(body)))),
    };
    match health.database {
        Some(serde_json::Value::String(state)) if state == "ok" => None,
        Some(serde_json::Value::String(state)) => {
            Some(format!("Database field is '{}', expected 'ok'", excerpt(&state)))
        }
        Some(other) => Some(format!("Database field is '{}', expected 'ok'", excerpt(&other.to_string()))),
        None => Some("Database field is missing, expected 'ok'".to_owned()),
    }
}
