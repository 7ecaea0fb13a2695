//! Nagios: hosts and services become `plugin` checks, contacts become targets. What a directive means is kept: attempts, units of intervals,
//! who is told about which states.

mod checks;
mod command;
mod contacts;
mod depends;
mod lines;
mod nrpe;
mod objects;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Files, Imported, Place, Taken};
use lines::Part;
use objects::Objects;

/// How many checks are made: the pairs of hosts and services may be many more than anybody meant.
const MAX_CHECKS: usize = 10_000;

/// What `nagios.cfg` says, and the values of `$USERn$`.
#[derive(Debug)]
pub(super) struct Main {
    /// What intervals are counted in (`interval_length`).
    unit: Duration,
    service_timeout: Duration,
    host_timeout: Duration,
    /// `$USERn$` by its name without dollar signs.
    user: BTreeMap<String, String>,
    notifications: bool,
}

impl Default for Main {
    /// What Nagios takes where `nagios.cfg` says nothing.
    fn default() -> Self {
        Self {
            unit: Duration::from_secs(60),
            service_timeout: Duration::from_secs(60),
            host_timeout: Duration::from_secs(30),
            user: BTreeMap::new(),
            notifications: true,
        }
    }
}

impl Main {
    /// A number of units of time as Nagios counts them.
    fn span(&self, text: &str) -> Option<Duration> {
        let count: f64 = text.trim().parse().ok()?;
        Duration::try_from_secs_f64(count * self.unit.as_secs_f64())
            .ok()
            .filter(|span| *span <= monchero_core::duration::LONGEST)
    }

    /// What `$USERn$` stands for. What is no path is a password or the like, and is not written.
    fn value(&self, name: &str) -> Option<String> {
        let value = self.user.get(name)?;
        let is_path = value.starts_with('/') || value.is_empty();
        Some(if is_path { value.clone() } else { command::secret(name) })
    }
}

/// Reads `nagios.cfg`, object files, directories of those, `resource.cfg` and `nrpe.cfg`: what a line is can be seen from it.
pub(super) fn read(paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
    let mut out = Imported::default();
    let mut reader = Reader {
        main: Main::default(),
        objects: Objects::default(),
        nrpe: nrpe::Nrpe::default(),
        waiting: VecDeque::new(),
        unused: BTreeMap::new(),
    };
    for path in paths {
        reader.waiting.extend(files.find(path, &is_cfg).into_iter().map(|path| (path, None)));
        reader.all(files, &mut out).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    for (file, names) in &reader.unused {
        out.notes.push(super::unused(file, names));
    }
    let resolved = reader.objects.resolve(&mut out);
    let mut made = checks::Checks::new(&reader.main, &resolved, taken, &mut out);
    made.make();
    reader.nrpe.finish(taken, &mut out);
    Ok(out)
}

fn is_cfg(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "cfg")
}

struct Reader {
    main: Main,
    objects: Objects,
    nrpe: nrpe::Nrpe,
    /// Files that are yet to be read, and where they are named if the user did not.
    waiting: VecDeque<(PathBuf, Option<Place>)>,
    /// By file, the settings that mean nothing to monchero.
    unused: BTreeMap<String, Vec<String>>,
}

impl Reader {
    fn all(&mut self, files: &mut Files, out: &mut Imported) -> Result<(), String> {
        while let Some((path, named)) = self.waiting.pop_front() {
            let text = match (files.read(&path), named) {
                (Ok(Some(text)), _) => text,
                (Ok(None), _) => continue,
                (Err(why), None) => return Err(why),
                (Err(why), Some(place)) => {
                    out.lose(&place, &path.to_string_lossy(), &why);
                    continue;
                }
            };
            let parts = lines::parse(&text, &mut out.lost);
            for part in parts {
                match part {
                    Part::Object(object) => self.objects.add(object),
                    Part::Setting(name, value, place) => self.setting(&name, &value, &place, &path, files, out),
                }
            }
        }
        Ok(())
    }

    fn setting(&mut self, name: &str, value: &str, place: &Place, file: &Path, files: &mut Files, out: &mut Imported) {
        let seconds = || value.parse().ok().filter(|secs| (1..=86_400).contains(secs)).map(Duration::from_secs);
        // Paths that are not whole stand beside the file that names them.
        let path = || file.parent().unwrap_or(Path::new("")).join(value);
        if self.nrpe.setting(name, value, place, out) {
            return;
        }
        match name {
            "cfg_file" | "resource_file" | "include" | "include_file" => {
                self.waiting.push_back((path(), Some(place.clone())));
            }
            "cfg_dir" | "include_dir" => {
                let found = files.find(&path(), &is_cfg);
                self.waiting.extend(found.into_iter().map(|path| (path, Some(place.clone()))));
            }
            "interval_length" => match seconds() {
                Some(unit) => self.main.unit = unit,
                None => out.lose(place, &format!("{name}={value}"), "this is no number of seconds"),
            },
            "service_check_timeout" => self.main.service_timeout = seconds().unwrap_or(self.main.service_timeout),
            "host_check_timeout" => self.main.host_timeout = seconds().unwrap_or(self.main.host_timeout),
            "enable_notifications" if value == "0" => {
                self.main.notifications = false;
                out.notes.push(format!("{place}: notifications are off, so no check names an action."));
            }
            "global_host_event_handler" | "global_service_event_handler" => {
                out.lose(
                    place,
                    &format!("{name}={value}"),
                    "write an action of the kind `script`, and name it in `actions` of `defaults`",
                );
            }
            "execute_service_checks" | "execute_host_checks" if value == "0" => {
                out.lose(
                    place,
                    &format!("{name}={value}"),
                    "checks that are to come from elsewhere are handed in by `monchero submit`",
                );
            }
            "use_regexp_matching" if value != "0" => {
                out.lose(place, &format!("{name}={value}"), "names of hosts and groups are taken as they are");
            }
            "broker_module" => out.lose(place, &format!("{name}={value}"), "modules of Nagios cannot be loaded"),
            user if user.starts_with('$') && user.ends_with('$') => {
                self.main.user.insert(user.trim_matches('$').to_owned(), value.to_owned());
            }
            other => {
                let names = self.unused.entry(place.file.to_string()).or_default();
                let name = monchero_core::text::shorten(other, 60);
                if !names.contains(&name) && names.len() < 300 {
                    names.push(name);
                }
            }
        }
    }
}
