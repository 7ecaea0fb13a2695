//! Hosts and services to checks, and what they depend on.

use std::collections::{BTreeMap, BTreeSet};

use monchero_core::order;

use super::super::{Imported, Item, Place, Setting, Taken, some};
use super::contacts::{Contacts, RECOVERY, Wishes, letters, states};
use super::objects::{Groups, Resolved, Words, split};
use super::{MAX_CHECKS, Main, command};

const HOSTS: Words = Words {
    group: "hostgroup",
    group_name: "hostgroup_name",
    nested: "hostgroup_members",
    member: "host",
    member_name: "host_name",
    groups_of_member: "hostgroups",
};

/// Directives that are translated, or that say what monchero does in any case.
const DONE: [&str; 43] = [
    "name",
    "use",
    "register",
    "host_name",
    "hostgroup_name",
    "service_description",
    "display_name",
    "alias",
    "address",
    "hostgroups",
    "servicegroups",
    "check_command",
    "max_check_attempts",
    "check_interval",
    "retry_interval",
    "active_checks_enabled",
    "passive_checks_enabled",
    "check_period",
    "flap_detection_enabled",
    "notifications_enabled",
    "notification_interval",
    "notification_period",
    "notification_options",
    "first_notification_delay",
    "contacts",
    "contact_groups",
    "notes",
    "notes_url",
    "action_url",
    "parents",
    "retain_status_information",
    "retain_nonstatus_information",
    "process_perf_data",
    "obsess_over_service",
    "obsess_over_host",
    "obsess",
    "failure_prediction_enabled",
    "parallelize_check",
    "event_handler_enabled",
    "hourly_value",
    "importance",
    "service_groups",
    "contactgroups",
];
/// Directives that only say how something looks on Nagios's pages.
const LOOKS: [&str; 9] = [
    "icon_image",
    "icon_image_alt",
    "vrml_image",
    "statusmap_image",
    "gd2_image",
    "2d_coords",
    "3d_coords",
    "obsess_over",
    "gd2",
];
/// Directives that mean nothing with this value.
const IDLE: [(&str, &str); 5] = [
    ("is_volatile", "0"),
    ("check_freshness", "0"),
    ("stalking_options", "n"),
    ("initial_state", "o"),
    ("low_flap_threshold", "0"),
];

pub(super) struct Checks<'a> {
    pub(super) main: &'a Main,
    pub(super) objects: &'a [Resolved],
    pub(super) hosts: BTreeMap<&'a str, &'a Resolved>,
    pub(super) commands: BTreeMap<&'a str, &'a Resolved>,
    pub(super) host_groups: Groups,
    pub(super) contacts: Contacts<'a>,
    /// The names of checks of hosts, and of services by host and description.
    pub(super) by_host: BTreeMap<&'a str, usize>,
    pub(super) by_service: BTreeMap<(&'a str, &'a str), usize>,
    /// Hosts that nothing looks at but their services.
    pub(super) unchecked: Vec<String>,
    pub(super) taken: &'a mut Taken,
    pub(super) out: &'a mut Imported,
}

impl<'a> Checks<'a> {
    pub(super) fn new(main: &'a Main, objects: &'a [Resolved], taken: &'a mut Taken, out: &'a mut Imported) -> Self {
        let named = |kind: &'static str, name: &'static str| {
            objects
                .iter()
                .filter(move |object| object.kind == kind)
                .filter_map(move |object| Some((object.get(name)?, object)))
                .collect()
        };
        Self {
            main,
            objects,
            hosts: named("host", "host_name"),
            commands: named("command", "command_name"),
            host_groups: Groups::read(objects, &HOSTS),
            contacts: Contacts::new(objects),
            by_host: BTreeMap::new(),
            by_service: BTreeMap::new(),
            unchecked: Vec::new(),
            taken,
            out,
        }
    }

    pub(super) fn make(&mut self) {
        for object in self.objects {
            match object.kind.as_str() {
                "host" => self.host(object),
                "service" => self.service(object),
                "command" | "contact" | "contactgroup" | "hostgroup" | "servicegroup" | "timeperiod"
                | "hostdependency" | "servicedependency" => {}
                "serviceescalation" | "hostescalation" => {
                    let why = "an escalation is a second action with a longer `delay`, which the check names beside the first";
                    self.out.lose(&object.place, &format!("define {}", object.kind), why);
                }
                other => {
                    self.out.lose(&object.place, &format!("define {other}"), "nothing is made of objects of this type");
                }
            }
        }
        if !self.unchecked.is_empty() {
            self.out.notes.push(format!("Hosts without a check of their own: {}.", some(&self.unchecked)));
        }
        for object in self.objects {
            match object.kind.as_str() {
                "host" => self.parents(object),
                "hostdependency" | "servicedependency" => self.dependency(object),
                _ => {}
            }
        }
    }

    fn host(&mut self, object: &'a Resolved) {
        let Some(name) = object.get("host_name").filter(|name| !name.is_empty()) else {
            return self.out.lose(&object.place, "define host", "it has no `host_name`");
        };
        let Some(line) = object.get("check_command").filter(|line| !line.is_empty()) else {
            self.unchecked.push(name.to_owned());
            return;
        };
        let Some(mut item) = self.check(object, object, name, line) else { return };
        // Nagios takes a warning about a host for okay, and everything else for a host that is down.
        let command = std::mem::replace(&mut item.settings, Setting::Map(Vec::new()));
        let list = |statuses: [u64; 2]| Setting::from(statuses.to_vec());
        item.settings = Setting::map([
            ("command", command),
            ("format", "exit-code".into()),
            ("okay", list([0, 1])),
            ("bad", list([2, 3])),
        ]);
        if let Some(index) = self.keep(item) {
            self.by_host.insert(name, index);
        }
    }

    fn service(&mut self, object: &'a Resolved) {
        let Some(description) = object.get("service_description").filter(|text| !text.is_empty()) else {
            return self.out.lose(&object.place, "define service", "it has no `service_description`");
        };
        let Some(line) = object.get("check_command").filter(|line| !line.is_empty()) else {
            return self.out.lose(&object.place, description, "it has no `check_command`");
        };
        let hosts = self.hosts_of(object, "host_name", "hostgroup_name");
        if hosts.is_empty() {
            return self.out.lose(&object.place, description, "there is no host that it would be on");
        }
        for host in hosts {
            if self.by_service.contains_key(&(host, description)) {
                self.out.lose(
                    &object.place,
                    &format!("{host}: {description}"),
                    "the host has a service of that name already",
                );
                continue;
            }
            let Some(host_object) = self.hosts.get(host).copied() else { continue };
            let Some(item) = self.check(object, host_object, &format!("{host}:{description}"), line) else { continue };
            match self.keep(item) {
                Some(index) => drop(self.by_service.insert((host, description), index)),
                None => return,
            }
        }
    }

    /// Keeps a check if there is room for it.
    fn keep(&mut self, item: Item) -> Option<usize> {
        if self.out.checks.len() >= MAX_CHECKS {
            if self.out.checks.len() == MAX_CHECKS {
                self.out.lose(
                    &item.place,
                    &item.name,
                    &format!("more than {MAX_CHECKS} checks are too many for one file: import it in parts"),
                );
            }
            return None;
        }
        self.out.checks.push(item);
        Some(self.out.checks.len() - 1)
    }

    /// The hosts that an object names: `*`, names, groups, and `!` before those that are left out.
    pub(super) fn hosts_of(&mut self, object: &'a Resolved, hosts: &str, groups: &str) -> BTreeSet<&'a str> {
        let mut found: BTreeSet<&'a str> = BTreeSet::new();
        let mut without: BTreeSet<&'a str> = BTreeSet::new();
        for (directive, is_group) in [(groups, true), (hosts, false)] {
            let Some((list, place)) = object.directives.get(directive) else { continue };
            for word in split(list) {
                let name = word.trim_start_matches(['!', '+']);
                let members: Vec<&'a str> = match (name, is_group) {
                    ("*", _) => self.hosts.keys().copied().collect(),
                    (name, false) => self.hosts.get_key_value(name).map(|(name, _)| *name).into_iter().collect(),
                    (name, true) => {
                        let members = self.host_groups.members(name).into_iter().flatten();
                        members
                            .filter_map(|host| self.hosts.get_key_value(host.as_str()))
                            .map(|(host, _)| *host)
                            .collect()
                    }
                };
                let known = !members.is_empty() || is_group && self.host_groups.members(name).is_some();
                if !known {
                    let what = if is_group { "host group" } else { "host" };
                    self.out.lose(place, &format!("{directive} {word}"), &format!("there is no {what} `{name}`"));
                }
                if word.starts_with('!') { without.extend(members) } else { found.extend(members) }
            }
        }
        &found - &without
    }

    /// A check without what it depends on.
    fn check(&mut self, object: &'a Resolved, host: &'a Resolved, name: &str, line: &str) -> Option<Item> {
        let place = object.at("check_command").clone();
        if object.get("active_checks_enabled") == Some("0") {
            let why = "Nagios does not look itself: make a check of the kind `heartbeat`, and hand in results with `monchero submit`";
            self.out.lose(&place, name, why);
            return None;
        }
        let mut words = match self.words(object, host, line) {
            Ok(words) => words,
            Err(why) => {
                self.out.lose(&place, &format!("{name}: {line}"), &why);
                return None;
            }
        };
        let secret = command::hide(&mut words);
        let mut item = Item::new(self.taken.checks.take(name), "plugin", Setting::command(words), &object.place);
        item.comments.push(format!("From {}.", object.place));
        if secret {
            hold_back(&mut item, &place);
        }
        self.schedule(object, &mut item);
        self.labels(object, host, &mut item);
        self.tell(object, host, &mut item);
        Self::rest(object, &mut item);
        Some(item)
    }

    /// The words of the command that a check runs.
    fn words(&self, object: &Resolved, host: &Resolved, line: &str) -> Result<Vec<String>, String> {
        let (name, arguments) = command::call(line);
        let command = self.commands.get(name.as_str()).ok_or_else(|| format!("there is no command `{name}`"))?;
        let line = command.get("command_line").ok_or("the command has no `command_line`")?;
        let plain = |name: &str| self.value(object, host, name);
        let arguments: Vec<String> =
            arguments.iter().map(|argument| command::expand(argument, &plain)).collect::<Result<_, _>>()?;
        let with_arguments = |name: &str| match name.strip_prefix("ARG").and_then(|number| number.parse::<usize>().ok())
        {
            // One that is not given is empty.
            Some(number) => {
                Some(number.checked_sub(1).and_then(|index| arguments.get(index)).cloned().unwrap_or_default())
            }
            None => plain(name),
        };
        command::words(&command::expand(line, &with_arguments)?)
    }

    /// The value of a macro that is known before a check runs.
    fn value(&self, object: &Resolved, host: &Resolved, name: &str) -> Option<String> {
        let of = |object: &Resolved, directive: &str| {
            object.get(directive).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        match name {
            "HOSTNAME" => of(host, "host_name"),
            "HOSTADDRESS" => of(host, "address").or_else(|| of(host, "host_name")),
            "HOSTALIAS" => of(host, "alias").or_else(|| of(host, "host_name")),
            "HOSTDISPLAYNAME" => of(host, "display_name").or_else(|| of(host, "host_name")),
            "HOSTNOTES" => of(host, "notes"),
            "HOSTNOTESURL" => of(host, "notes_url"),
            "SERVICEDESC" => of(object, "service_description"),
            "SERVICEDISPLAYNAME" => of(object, "display_name").or_else(|| of(object, "service_description")),
            "SERVICENOTES" => of(object, "notes"),
            _ if self.main.user.contains_key(name) => self.main.value(name),
            _ => {
                let (object, name) = match (name.strip_prefix("_HOST"), name.strip_prefix("_SERVICE")) {
                    (Some(name), _) => (host, name),
                    (_, Some(name)) => (object, name),
                    _ => return None,
                };
                let own = object
                    .directives
                    .iter()
                    .find(|(key, _)| key.strip_prefix('_').is_some_and(|key| key.eq_ignore_ascii_case(name)));
                own.map(|(_, (value, _))| value.to_string())
            }
        }
    }

    fn schedule(&self, object: &Resolved, item: &mut Item) {
        let is_host = object.kind == "host";
        let interval = |name: &'static str, directive: &str, default: &str, lost: &mut Item| {
            let text = object.get(directive).unwrap_or(default);
            match self.main.span(text).filter(|span| *span >= crate::config::settings::MIN_INTERVAL) {
                Some(span) => lost.set(name, span),
                None => lost.lose(
                    object.at(directive),
                    &format!("{directive} {text}"),
                    "this is no interval; the default is taken",
                ),
            }
        };
        interval("interval", "check_interval", "5", item);
        interval("retry_interval", "retry_interval", "1", item);
        let attempts = object.get("max_check_attempts").unwrap_or("1");
        match attempts.parse::<u64>() {
            Ok(attempts @ 1..=10_000) => item.set("retries", attempts - 1),
            _ => item.lose(
                object.at("max_check_attempts"),
                &format!("max_check_attempts {attempts}"),
                "this is no number of attempts",
            ),
        }
        item.set("timeout", if is_host { self.main.host_timeout } else { self.main.service_timeout });
        // A check that takes too long is critical to Nagios, and its host down.
        item.set("on_timeout", "bad");
        if object.get("flap_detection_enabled") == Some("0") {
            item.set("flapping", false);
        }
        if let Some(period) = object.get("check_period")
            && self.contacts.quiet(period) != Ok(None)
        {
            let why = "a check runs at all times; `quiet` of an action, or a downtime, keeps it from telling";
            item.lose(object.at("check_period"), &format!("check_period {period}"), why);
        }
    }

    fn labels(&self, object: &Resolved, host: &Resolved, item: &mut Item) {
        let mut labels = Vec::new();
        let name = host.get("host_name").unwrap_or_default();
        labels.push(("host".to_owned(), Setting::from(name)));
        let mut groups: BTreeSet<&str> = order::tree(self.host_groups.of(name));
        let add = |labels: &mut Vec<_>, key: &str, groups: &BTreeSet<&str>| {
            if !groups.is_empty() {
                let list: Vec<&str> = groups.iter().copied().collect();
                labels.push((key.to_owned(), Setting::from(list.join(","))));
            }
        };
        add(&mut labels, "hostgroup", &groups);
        groups = order::tree(object.list("servicegroups").map(|group| group.trim_start_matches('+')));
        groups.extend(self.service_groups(object, name));
        add(&mut labels, "servicegroup", &groups);
        if let Some(url) = object.get("notes_url").filter(|url| !url.is_empty() && !url.contains('$')) {
            labels.push(("runbook".to_owned(), Setting::from(url)));
        }
        item.set("labels", Setting::Map(labels));
        let say = |name: &str| object.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        item.comments.extend(["notes", "action_url"].into_iter().filter_map(say));
        if object.kind == "host" {
            item.comments.extend(say("alias"));
        }
    }

    /// The groups of services that name this one as a member.
    fn service_groups(&self, object: &'_ Resolved, host: &str) -> BTreeSet<&str> {
        let description = object.get("service_description");
        let member = |group: &&Resolved| {
            let words: Vec<&str> = group.list("members").collect();
            words.chunks(2).any(|pair| pair.first() == Some(&host) && pair.get(1).copied() == description)
        };
        let groups = self.objects.iter().filter(|group| group.kind == "servicegroup" && description.is_some());
        groups.filter(member).filter_map(|group| group.get("servicegroup_name")).collect()
    }

    fn tell(&mut self, object: &'a Resolved, host: &'a Resolved, item: &mut Item) {
        let enabled = self.main.notifications && object.get("notifications_enabled") != Some("0");
        let is_host = object.kind == "host";
        let options = object.get("notification_options");
        let states = states(options, is_host);
        if !enabled || states.is_empty() {
            return;
        }
        if let Some(options) = options.filter(|options| !letters(options).iter().any(|letter| "ra".contains(*letter))) {
            item.lose(object.at("notification_options"), &format!("notification_options {options}"), RECOVERY);
        }
        // A service has what its host has, unless it says otherwise.
        let near = |name: &str| object.get(name).or_else(|| host.get(name));
        let named = |object: &Resolved| object.get("contacts").is_some() || object.get("contact_groups").is_some();
        let mut missing = Vec::new();
        let contacts = self.contacts.of(if named(object) { object } else { host }, &mut missing);
        for (directive, why) in missing {
            item.lose(object.at(directive), directive, &why);
        }
        let span = |text: Option<&str>| text.and_then(|text| self.main.span(text)).unwrap_or_default();
        let quiet = match near("notification_period").map_or(Ok(None), |period| self.contacts.quiet(period)) {
            Ok(quiet) => quiet,
            Err(why) => {
                let period = near("notification_period").unwrap_or_default();
                item.lose(object.at("notification_period"), &format!("notification_period {period}"), why);
                None
            }
        };
        let wishes = Wishes {
            states: if states.len() == 3 { Vec::new() } else { states },
            remind: span(near("notification_interval").or(Some("30"))),
            delay: span(object.get("first_notification_delay")),
            quiet,
            host: is_host,
        };
        for contact in contacts {
            if let Some(action) = self.contacts.action(&contact, wishes.clone(), self.taken, self.out) {
                item.add("actions", &action);
            }
        }
    }

    /// Notes every directive that nothing was made of.
    fn rest(object: &Resolved, item: &mut Item) {
        for (name, (value, place)) in object.directives.iter() {
            let idle = IDLE.contains(&(name.as_str(), &**value)) || value.is_empty();
            let known = DONE.contains(&name.as_str()) || LOOKS.contains(&name.as_str()) || name.starts_with('_');
            if idle || known && !(name == "parents" && object.kind == "service") {
                continue;
            }
            let why = match name.as_str() {
                "event_handler" => "write an action of the kind `script`, and name it in `actions`",
                "check_freshness" | "freshness_threshold" => {
                    "a check of the kind `heartbeat` notices that nothing is heard"
                }
                "is_volatile" => "a problem is told when it begins and when `remind` says so",
                "low_flap_threshold" | "high_flap_threshold" | "flap_detection_options" => {
                    "`flapping` counts changes in a window: set it by hand"
                }
                "parents" => "name the check in `depends_on` by hand",
                "stalking_options" => "every change of state is in the history; changes of the text alone are not",
                _ => "monchero has nothing like it",
            };
            item.lose(place, &format!("{name} {value}"), why);
        }
    }
}

/// Writes a check as a comment only, because a secret is part of its command.
pub(super) fn hold_back(item: &mut Item, place: &Place) {
    item.off = true;
    let why = "a secret is part of the command and was left out: put it into a file that the plugin reads (`--extra-opts=@FILE`), or into \
               the command if others cannot read this file, and take away the `#`";
    item.lose(place, "", why);
}
