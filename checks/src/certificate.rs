//! `certificate`: certificates in files on this host, and for how long they are valid yet.

mod read;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use self::read::{Found, Seen, look};
use crate::blocking::Blocking;
use crate::net::Deadline;
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number("valid", "s", "For how long the certificate is valid yet; less than nothing once it has expired."),
    Field::text(
        "weakness",
        "What is weak about its key or its signature, or `none`: `RSA key of 1024 bits`, `signed with SHA-1`.",
    ),
    Field::text("key", "Its key: `RSA 2048`, `EC 256`, `Ed25519`."),
    Field::text("subject", "Whose it is: `CN=www.example.org`."),
    Field::text("issuer", "Who signed it."),
    Field::text("file", "The file that it stands in."),
];

const LIMITS: &[Limit] =
    &[Limit { field: "valid", warning: "< 14d", bad: "< 3d" }, Limit { field: "weakness", warning: "!none", bad: "" }];

/// How many paths one check may have.
const MAX_PATHS: usize = 64;

/// Reading and parsing a bundle of authorities needs some stack; files may stand on a mount that hangs.
static FILES: Blocking = Blocking::new("monchero-pem", 512 * 1024);

/// For how long the certificates in files are valid yet, and whether they are weak: PEM with one or several in a file, or DER.
///
/// A file that is named and does not exist, or has no certificate in it, is bad; so is a certificate that is not valid yet. What a pattern
/// finds that is no certificate is left out. A file that cannot be read is unknown. Whether a server *shows* the certificate is
/// another question, which the kinds `http` and `tcp` answer: after a renewal, many have to be told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    /// The files: a path, or a list of up to 64; `*` and `?` stand for parts of a name, as in `/etc/letsencrypt/live/*/cert.pem`. A
    /// `fullchain.pem` has those of the authorities in it, too, which are looked at as well.
    path: OneOrMore<PathBuf>,
    /// The private key (PEM) of the first certificate of each file, which must belong to it: a path, or a name beside the certificate such as
    /// `privkey.pem`. Default: no key is looked at.
    private_key: Option<PathBuf>,
    /// Which certificates are looked at: names with `*` (a name is the file and the subject), or conditions on `subject`, `issuer`,
    /// `key`, `file`, `weakness` and `valid`.
    #[serde(default)]
    only: Filter,
    /// Which certificates are left out, written as `only` is.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `valid`, the time that is left; a map has a range for `valid` and texts for `weakness`,
    /// `key`, `subject`, `issuer` and `file`. Without a word about them, `valid` is a warning below 14 days, and any `weakness` is: a signature
    /// with MD5 or SHA-1, an RSA or DSA key below 2048 bits, an elliptic one below 224.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, `valid` is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Certificate {
    const NAME: &'static str = "certificate";
    const EXAMPLE: &'static str = "{ path: \"/etc/letsencrypt/live/*/cert.pem\", private_key: privkey.pem, warning: 20d, bad: { valid: \"< 7d\", weakness: \"!none\" } }";
    const SHORT_FOR: Option<&'static str> = Some("path");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let paths = &self.path.0;
        if paths.is_empty() || paths.len() > MAX_PATHS {
            return Err(Invalid::at("path", format!("1 to {MAX_PATHS} paths are looked at, not {}", paths.len())));
        }
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            return Err(Invalid::at("path", format!("`{}` does not begin with `/`", path.display())));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let limit = Deadline::of(context).limit();
        let (sysroot, paths, key) = (context.sysroot.to_owned(), self.path.0.clone(), self.private_key.clone());
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let shown = format!("{}:{}", sysroot.display(), shown.join(","));
        let seen = FILES.call(&shown, limit, move || look(&sysroot, &paths, key.as_deref())).await;
        let seen = seen.map_err(|why| CheckError::Unable(format!("the file system with the certificates {why}")))?;
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for Seen { file, found } in &seen {
            match found {
                Ok(found) => one(&judge, &mut report, file, found, context.now),
                Err((state, why)) => report.find(*state, format!("{}: {why}", file.display())),
            }
        }
        judge.end(&mut report, "certificate");
        Ok(report)
    }
}

/// Judges one certificate.
fn one(judge: &Judge<'_>, report: &mut Report, file: &Path, found: &Found, now: Timestamp) {
    let (from, until) = found.valid;
    let now = now.as_second();
    let shown = file.to_string_lossy();
    let name = format!("{shown} {}", found.subject);
    let values = [
        ("valid", Value::Number((until - now) as f64)),
        ("weakness", Value::Text(&found.weakness)),
        ("key", Value::Text(&found.key)),
        ("subject", Value::Text(&found.subject)),
        ("issuer", Value::Text(&found.issuer)),
        ("file", Value::Text(&shown)),
    ];
    let kept = judge.item(report, &name, &values, || {
        let verb = if until < now { "expired on" } else { "valid until" };
        format!("{verb} {}, signed by {}", moment(until), found.issuer)
    });
    if !kept {
        return;
    }
    if from > now {
        report.find(State::Bad, format!("{name} is not valid before {}", moment(from)));
    }
    if let Some((state, why)) = &found.mismatch {
        report.find(*state, format!("{name}: {why}"));
    }
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "a time beyond all calendars".to_owned(), |moment| moment.to_string())
}
