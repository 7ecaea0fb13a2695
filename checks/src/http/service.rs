//! What kinds have in common that ask one certain service over HTTP and know how it answers.

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind as _, Context};
use monchero_core::secret::MaybeSecret;
use monchero_core::{CheckError, Invalid, Report, Secret, State, Thresholds};

use super::expect::Expect;
use super::{Basic, End, FIVE, Http, ONE_MEBIBYTE, ProxySetting, Url};
use crate::net::{Family, TlsSettings};

/// A service, and how it answers.
pub(crate) struct Service {
    /// What is asked, behind the URL that the user gave.
    pub(crate) path: &'static str,
    /// What is said when nothing is wrong.
    pub(crate) praise: &'static str,
    /// What is wrong with the body of an answer with status 200.
    pub(crate) fault: fn(&[u8]) -> Option<String>,
}

/// What the user says about a service; each is a setting of the same name.
pub(crate) struct Settings {
    pub(crate) url: Url,
    pub(crate) headers: BTreeMap<String, MaybeSecret>,
    pub(crate) basic: Option<Basic>,
    pub(crate) bearer: Option<Secret>,
    pub(crate) family: Family,
    pub(crate) proxy: ProxySetting,
    pub(crate) tls: TlsSettings,
    pub(crate) warning: Thresholds,
    pub(crate) bad: Thresholds,
}

impl Service {
    /// The check that asks the service.
    pub(crate) fn http(&self, settings: Settings) -> Result<Http, Invalid> {
        let Settings { url, headers, basic, bearer, family, proxy, tls, warning, bad } = settings;
        let mut http = Http {
            url: url.with(self.path),
            method: None,
            headers,
            body: None,
            json: None,
            form: BTreeMap::new(),
            basic,
            bearer,
            redirects: FIVE,
            family,
            resolve: None,
            proxy,
            tls,
            expect: Expect::default(),
            measure: BTreeMap::new(),
            max_body: ONE_MEBIBYTE,
            warning,
            bad,
            ready: None,
        };
        http.validate()?;
        Ok(http)
    }

    /// Asks once. Any status but 200 is bad.
    pub(crate) async fn run(&self, http: Option<&Http>, context: &Context<'_>) -> Result<Report, CheckError> {
        let http = http.ok_or_else(|| CheckError::Unable("the settings were not validated".to_owned()))?;
        let faults = |end: &End| {
            let fault = match end.answer.status.as_u16() {
                200 => (self.fault)(&end.answer.body),
                status => Some(format!("HTTP {status} from {}", end.url)),
            };
            fault.map(|why| (State::Bad, why)).into_iter().collect()
        };
        http.look(context, faults, Some(self.praise)).await
    }
}
