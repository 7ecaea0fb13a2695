//! `loki`: whether Loki says that it is ready.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::Field;
use monchero_core::secret::MaybeSecret;
use monchero_core::{CheckError, Invalid, Report, Secret, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::{Basic, FIELDS, Http, ProxySetting, Service, Settings, Url};
use crate::net::{Family, TlsSettings};
use crate::settings::excerpt;

const SERVICE: Service = Service { path: "/ready", praise: "Loki is ready", fault };

/// Whether Loki is ready: `GET /ready` answers with status 200 and says so.
///
/// Bad are any other status, a text without the word `ready`, a text that says `not ready` whatever the status is, and a Loki that does
/// not answer. Up to five redirects are followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Loki {
    /// The URL of Loki, without `/ready`: `http://loki.example:3100`, `https://proxy.example/loki`.
    url: Url,
    /// User and password (HTTP Basic), as a proxy before Loki asks for.
    basic: Option<Basic>,
    /// A token (`Authorization: Bearer`).
    bearer: Option<Secret>,
    /// The tenant whose Loki this is (`X-Scope-OrgID`), where a proxy tells tenants apart.
    tenant: Option<String>,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// The proxy through which Loki is asked: `http://proxy.example:3128`, or a map of `url`, `user` and `password`. Default: `none`.
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

impl CheckKind for Loki {
    const NAME: &'static str = "loki";
    const LOOKS: Looks = Looks::At("url");
    const EXAMPLE: &'static str = "{ url: \"http://loki.example:3100\", tenant: shop }";
    const SHORT_FOR: Option<&'static str> = Some("url");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.tenant.as_ref().is_some_and(|tenant| !tenant.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Invalid::at(
                "tenant",
                "a tenant has letters, digits and signs of ASCII, and no blank".to_owned(),
            ));
        }
        let headers = self.tenant.take().map(|tenant| ("X-Scope-OrgID".to_owned(), MaybeSecret::Plain(tenant)));
        self.http = Some(SERVICE.http(Settings {
            url: self.url.clone(),
            headers: headers.into_iter().collect(),
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
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let says = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    if says(&["not", "ready"]) || says(&["not", "yet", "ready"]) {
        return Some(format!("Response body says 'not ready': {}", excerpt(&text)));
    }
    (!says(&["ready"])).then(|| format!("Response body does not contain 'ready': {}", excerpt(&text)))
}
