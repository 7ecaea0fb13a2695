//! What checks depend on: hosts on their parents, services on their host, and what `hostdependency` and `servicedependency` say.

use super::super::Imported;
use super::checks::Checks;
use super::objects::Resolved;

impl<'a> Checks<'a> {
    /// What the check of a host, and the checks of its services, depend on.
    pub(super) fn parents(&mut self, object: &'a Resolved) {
        let Some(name) = object.get("host_name") else { return };
        let own = self.by_host.get(name).copied();
        let services: Vec<usize> = self
            .by_service
            .range((name, "")..)
            .take_while(|((host, _), _)| *host == name)
            .map(|(_, index)| *index)
            .collect();
        for parent in object.list("parents").map(|parent| parent.trim_start_matches('+')) {
            match self.by_host.get(parent).copied() {
                Some(parent) => {
                    let dependent = own.map_or_else(|| services.clone(), |own| vec![own]);
                    for index in dependent {
                        self.depend(index, parent);
                    }
                }
                None => self.out.lose(object.at("parents"), &format!("parents {parent}"), "that host has no check"),
            }
        }
        if let Some(own) = own {
            for index in services {
                self.depend(index, own);
            }
        }
    }

    fn depend(&mut self, index: usize, on: usize) {
        let Some(name) = self.out.checks.get(on).filter(|_| index != on).map(|check| check.name.clone()) else {
            return;
        };
        if let Some(check) = self.out.checks.get_mut(index) {
            check.add("depends_on", &name);
        }
    }

    pub(super) fn dependency(&mut self, object: &'a Resolved) {
        let of_service = object.kind == "servicedependency";
        let lose = |out: &mut Imported, name: &str, why: &str| {
            out.lose(object.at(name), &format!("{name} {}", object.get(name).unwrap_or_default()), why);
        };
        if object.get("notification_failure_criteria").is_none_or(|criteria| criteria == "n") {
            return lose(
                self.out,
                "execution_failure_criteria",
                "a check runs whatever it depends on; only its notices wait",
            );
        }
        for name in ["execution_failure_criteria", "dependency_period"] {
            if object.get(name).is_some_and(|value| value != "n" && value != "24x7") {
                lose(
                    self.out,
                    name,
                    "notices wait at all times while what the check depends on is bad, and the check runs all the same",
                );
            }
        }
        let masters = self.hosts_of(object, "host_name", "hostgroup_name");
        let mut dependents = self.hosts_of(object, "dependent_host_name", "dependent_hostgroup_name");
        if dependents.is_empty() && of_service {
            dependents.clone_from(&masters);
        }
        let services = |name: &str| -> Vec<&str> { if of_service { object.list(name).collect() } else { vec![""] } };
        let find = |checks: &Self, host: &str, service: &str| {
            if of_service {
                checks.by_service.get(&(host, service)).copied()
            } else {
                checks.by_host.get(host).copied()
            }
        };
        let (from, to) = (services("service_description"), services("dependent_service_description"));
        let same_host = object.get("dependent_host_name").is_none() && object.get("dependent_hostgroup_name").is_none();
        let mut made = 0;
        for dependent in &dependents {
            for master in masters.iter().filter(|master| !same_host || *master == dependent) {
                for (service, on) in to.iter().flat_map(|service| from.iter().map(move |on| (service, on))) {
                    if let (Some(index), Some(on)) = (find(self, dependent, service), find(self, master, on)) {
                        self.depend(index, on);
                        made += 1;
                    }
                }
            }
        }
        if made == 0 {
            self.out.lose(&object.place, &format!("define {}", object.kind), "nothing was found that it names");
        }
    }
}
