//! `container`: whether the containers of Docker or Podman run, and are healthy.

mod api;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;

use self::api::{Api, Details, Listed};
use crate::host::under;
use crate::net::{Deadline, Failure};
use crate::settings::{OneOrMore, excerpt};

const FIELDS: &[Field<'static>] = &[
    Field::text("state", "What it does: `running`, `exited`, `restarting`, `paused`, `created`, `dead` ..."),
    Field::text("health", "What its own health check says: `healthy`, `unhealthy`, `starting`, or `none` without one."),
    Field::number("restarted", "", "How often it was restarted since the last run of this check."),
    Field::number("restarts", "", "How often it was restarted by its restart policy since it was created."),
    Field::number("age", "s", "For how long it has been running; not measured while it is not."),
    Field::number(
        "exit_code",
        "",
        "The exit status of its last run; not measured while it runs, nor before it ever ran.",
    ),
    Field::text("image", "The image that it was made from."),
    Field::text("policy", "Its restart policy: `no`, `always`, `unless-stopped`, `on-failure`."),
];

const LIMITS: &[Limit] = &[
    // What neither runs nor is about to (`restarting`, `removing`) is bad.
    Limit { field: "state", warning: "!running", bad: "!r*ing" },
    Limit { field: "health", warning: "", bad: "unhealthy" },
    Limit { field: "restarted", warning: "> 0", bad: "" },
];

/// Where the sockets stand unless the settings name another, in the order in which they are tried.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];

/// How many containers one check looks at: each costs a question, a few milliseconds each.
const MAX_CONTAINERS: usize = 500;

/// Whether the containers of Docker or Podman run, are healthy, and are not restarted again and again.
///
/// Without `name` and `only`, these are all that have a restart policy: what is meant to be there. (A container of the policy `on-failure` that has
/// ended well is done, and left out.) A container that does not run is bad, one that is just being restarted or was restarted since the last
/// run is a warning, and one whose own health check fails is bad.
///
/// Docker or Podman are asked by their socket, which root may use, and the group that owns it. Mind that whoever may use that socket can become
/// root.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Container {
    /// The name of a container that must be there, or a list of names. Without it, all are looked at that have a restart policy, or those
    /// that `only` names.
    name: Option<OneOrMore<String>>,
    /// The socket of Docker or Podman. That of Podman without root is `/run/user/1000/podman/podman.sock`, for the user 1000. Default: the first
    /// that exists of `/run/docker.sock` and `/run/podman/podman.sock`.
    socket: Option<PathBuf>,
    /// Which containers are looked at: names with `*` (`shop-*`), or conditions on `state`, `health`, `image`, `policy` and the numbers.
    #[serde(default)]
    only: Filter,
    /// Which containers are left out, written as `only` is.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single text is about `state`; a map has texts for `state`, `health`, `image` and `policy`, and ranges for
    /// `restarted`, `restarts`, `age` (a span of time) and `exit_code`. Without a word about them, a `state` other than `running` is a
    /// warning, and `restarted` above 0.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, every `state` is bad but `running`, `restarting` and
    /// `removing`, and so is the `health` `unhealthy`.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Container {
    const NAME: &'static str = "container";
    const EXAMPLE: &'static str = "{ only: shop-*, except: { image: \"*/backup:*\" }, bad: { restarted: \"> 3\" } }";
    const SHORT_FOR: Option<&'static str> = Some("name");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(OneOrMore(names)) = &self.name {
            if names.is_empty() || names.len() > MAX_CONTAINERS {
                return Err(Invalid::at("name", format!("1 to {MAX_CONTAINERS} containers can be named")));
            }
            if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['*', '?', '/'])) {
                let why = format!("`{}` is no name of a container: patterns belong into `only`", excerpt(name));
                return Err(Invalid::at("name", why));
            }
        }
        if self.socket.as_ref().is_some_and(|socket| !socket.is_absolute()) {
            return Err(Invalid::at("socket", "the socket must be a whole path".to_owned()));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let socket = self.socket(context)?;
        let looking = async {
            let mut api = Api::connect(context.sysroot, &socket).await?;
            self.look(context, &mut api).await
        };
        match deadline.bound(|| format!("asking {}", socket.display()), looking).await {
            Ok(report) => Ok(report),
            Err(failure) => failure.into_answer(),
        }
    }
}

impl Container {
    fn socket(&self, context: &Context<'_>) -> Result<PathBuf, CheckError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let exists = |socket: &&str| under(context.sysroot, Path::new(socket)).exists();
        SOCKETS.into_iter().find(exists).map(PathBuf::from).ok_or_else(|| {
            CheckError::Unable(format!(
                "there is neither {} nor {}: is Docker or Podman's `podman.socket` running? Another place is named by `socket`",
                SOCKETS[0], SOCKETS[1]
            ))
        })
    }

    async fn look(&self, context: &Context<'_>, api: &mut Api) -> Result<Report, Failure> {
        let mut report = context.report();
        let listed = self.wanted(&mut report, api.list().await?)?;
        let before: BTreeMap<String, u64> = context.recall().unwrap_or_default();
        let mut restarts = BTreeMap::new();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for container in listed {
            // What was removed meanwhile is no longer there to be judged.
            let Some(details) = api.inspect(&container.id).await? else { continue };
            if self.is_named() || details.is_meant_to_run() {
                let id: String = container.id.chars().take(12).collect();
                let restarted = before.get(&id).map(|count| details.restarts.saturating_sub(*count));
                restarts.insert(id, details.restarts);
                one(&judge, &mut report, context, &container.name, &details, restarted);
            } else {
                report.items.left_out += 1;
            }
        }
        report.remember(&restarts);
        if report.items.kept == 0 && report.items.left_out > 0 && self.only.is_empty() && self.except.is_empty() {
            let why = "no container has a restart policy: name those that must run in `name` or `only`";
            report.find(State::Unknown, why);
        }
        judge.end(&mut report, "container");
        Ok(report)
    }

    /// Whether the user said which containers are meant.
    fn is_named(&self) -> bool {
        self.name.is_some() || !self.only.is_empty()
    }

    /// The containers that are named, or all; those that are named and not there are bad.
    fn wanted(&self, report: &mut Report, mut listed: Vec<Listed>) -> Result<Vec<Listed>, Failure> {
        if let Some(OneOrMore(names)) = &self.name {
            listed.retain(|container| names.contains(&container.name));
            for name in names.iter().filter(|name| !listed.iter().any(|container| container.name == **name)) {
                report.find(State::Bad, format!("there is no container `{}`", excerpt(name)));
            }
        }
        if listed.len() > MAX_CONTAINERS {
            let (all, most) = (listed.len(), MAX_CONTAINERS);
            return Err(Failure::Unable(format!(
                "there are {all} containers, of which one check looks at {most}: name those that matter in `name`"
            )));
        }
        order::sort_by(&mut listed, |a, b| a.name.cmp(&b.name));
        Ok(listed)
    }
}

/// Judges one container.
fn one(
    judge: &Judge<'_>,
    report: &mut Report,
    context: &Context<'_>,
    name: &str,
    details: &Details,
    restarted: Option<u64>,
) {
    let age = details
        .started
        .filter(|_| details.is_up())
        .map(|start| context.now.duration_since(start).as_secs_f64().max(0.0));
    let mut values = vec![
        ("state", Value::Text(&details.state)),
        ("health", Value::Text(&details.health)),
        ("restarts", Value::Number(details.restarts as f64)),
        ("image", Value::Text(&details.image)),
        ("policy", Value::Text(&details.policy)),
    ];
    values.extend(restarted.map(|restarted| ("restarted", Value::Number(restarted as f64))));
    values.extend(age.map(|age| ("age", Value::Number(age))));
    let exit_code = details.exit_code.filter(|_| !details.is_up());
    values.extend(exit_code.map(|code| ("exit_code", Value::Number(code as f64))));
    judge.item(report, name, &values, || {
        let mut words = excerpt(&details.state);
        if let Some(age) = age {
            words += &format!(" for {}", human(age, &Unit::SECONDS));
        }
        if let Some(code) = exit_code {
            words += &format!(" with the exit status {code}");
        }
        if details.killed_for_memory {
            words += ", ended for lack of memory";
        }
        if details.health != "none" {
            words += &format!(", {}", excerpt(&details.health));
        }
        if !details.error.is_empty() {
            words += &format!(", {}", excerpt(&details.error));
        }
        words
    });
}
