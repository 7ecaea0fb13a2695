//! `check TYPE NAME ..` and its tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Files, Imported, Item, Setting, Taken};
use super::actions::{Actions, Program};
use super::lines::{Statement, Token};
use super::tests_of::{Made, Test};
use super::{MAX_CHECKS, Main};

pub(super) struct Services<'a> {
    main: &'a Main,
    files: &'a Files,
    taken: &'a mut Taken,
    out: &'a mut Imported,
    actions: Actions,
    /// The checks of each service: what depends on it depends on the first.
    made: BTreeMap<String, Vec<usize>>,
}

/// A service while its tests are read.
pub(super) struct Service<'s> {
    pub(super) sort: String,
    pub(super) name: String,
    /// The path, pattern, address or command that it is about.
    pub(super) about: String,
    pub(super) pattern: bool,
    pub(super) head: &'s Statement,
    pub(super) interval: Duration,
    pub(super) told: Vec<String>,
    pub(super) label: Option<String>,
    pub(super) start: Option<Program>,
    pub(super) stop: Option<Program>,
    pub(super) restart: Option<Program>,
    pub(super) passive: bool,
    pub(super) lost: Vec<(Statement, &'static str)>,
}

/// Said of a check whose exit statuses are set.
const STATUS: &str = "Judged by its exit status.";

impl<'a> Services<'a> {
    pub(super) fn new(main: &'a Main, files: &'a Files, taken: &'a mut Taken, out: &'a mut Imported) -> Self {
        Self { main, files, taken, out, actions: Actions::default(), made: BTreeMap::new() }
    }

    pub(super) fn make(&mut self, services: &[(Statement, Vec<Statement>)]) {
        let told: Vec<String> = self
            .main
            .alerts
            .iter()
            .map(|alert| self.actions.email(alert, self.main, self.files, self.taken, self.out))
            .collect();
        for (head, parts) in services {
            if self.out.checks.len() >= MAX_CHECKS {
                return self.out.lose(
                    &head.place,
                    &head.text(),
                    &format!("more than {MAX_CHECKS} checks are too many for one file"),
                );
            }
            self.service(head, parts, &told);
        }
        for (head, parts) in services {
            self.depend(head, parts);
        }
    }

    fn service(&mut self, head: &Statement, parts: &[Statement], told: &[String]) {
        let sort = head.word(1).to_lowercase();
        let sort = if sort == "device" { "filesystem".to_owned() } else { sort };
        let about = ["pidfile", "matching", "path", "address", "interface"]
            .into_iter()
            .find_map(|key| Some((key, head.after(key)?)));
        let (key, about) = match (about, sort.as_str()) {
            (Some(found), _) => found,
            (None, "system") => ("", ""),
            (None, _) => return self.out.lose(&head.place, &head.text(), "it does not say what is looked at"),
        };
        let mut service = Service {
            name: head.word(2).replace("$HOST", "host"),
            about: about.to_owned(),
            pattern: key == "matching",
            sort,
            head,
            interval: self.main.cycle,
            told: told.to_vec(),
            label: None,
            start: None,
            stop: None,
            restart: None,
            passive: false,
            lost: Vec::new(),
        };
        for part in parts {
            self.part(&mut service, part);
        }
        let first = self.out.checks.len();
        self.checks(&mut service, parts, first);
        let end = self.out.checks.len();
        let lost = std::mem::take(&mut service.lost);
        for (statement, why) in lost {
            match self.out.checks.get_mut(first) {
                Some(item) => item.lose(&statement.place, &statement.text(), why),
                None => self.out.lose(&statement.place, &statement.text(), why),
            }
        }
        self.made.insert(head.word(2).to_owned(), (first..end).collect());
    }

    /// What is not a test.
    fn part(&mut self, service: &mut Service<'_>, part: &Statement) {
        let program = |lost: &mut Vec<(Statement, &'static str)>| match Program::read(part, 1) {
            Ok(program) => Some(program),
            Err(why) => {
                lost.push((part.clone(), why));
                None
            }
        };
        match part.word(0) {
            "start" => service.start = program(&mut service.lost),
            "stop" => service.stop = program(&mut service.lost),
            "restart" => service.restart = program(&mut service.lost),
            "every" => match part.word(1).parse::<u32>() {
                Ok(cycles @ 1..=100_000) => service.interval = self.main.cycle * cycles,
                _ => service.lost.push((part.clone(), "a check runs at an `interval`, not by the calendar")),
            },
            "not" => service
                .lost
                .push((part.clone(), "a check runs at all times; a downtime or `quiet` keeps it from telling")),
            "group" => {
                service.label = Some(match service.label.take() {
                    Some(groups) => format!("{groups},{}", part.word(1)),
                    None => part.word(1).to_owned(),
                });
            }
            "mode" => match part.word(1) {
                "passive" => service.passive = true,
                "manual" => service.lost.push((part.clone(), "every check runs from the start")),
                _ => {}
            },
            "alert" => {
                let name = self.actions.email(part, self.main, self.files, self.taken, self.out);
                service.told.push(name);
            }
            "noalert" => service.lost.push((part.clone(), "take the action out of `actions` by hand")),
            "if" | "depend" | "depends" | "onreboot" => {}
            _ => service.lost.push((part.clone(), "monchero has nothing like it")),
        }
    }

    fn checks(&mut self, service: &mut Service<'_>, parts: &[Statement], first: usize) {
        if let Some(made) = service.main_check() {
            let remedy =
                self.remedy(service, if service.start.is_some() && service.sort == "process" { "start" } else { "" });
            let item = self.item(service, made, 0, remedy.as_ref());
            self.out.checks.push(item);
        }
        for part in parts.iter().filter(|part| part.word(0) == "if") {
            match Test::read(part) {
                Ok(test) => self.test(service, part, &test, first),
                Err(why) => service.lost.push((part.clone(), why)),
            }
        }
    }

    /// A test of a service, whose first check has this place in the list.
    fn test(&mut self, service: &mut Service<'_>, part: &Statement, test: &Test, first: usize) {
        let action = test.then.first().map(Token::lower).unwrap_or_default();
        if test.condition.tokens.iter().any(|token| matches!(token.lower().as_str(), "restart" | "restarts")) {
            return self.restarts(service, part, test);
        }
        let made = match service.made(&test.condition) {
            Ok(Some(made)) => made,
            // That it exists is what the first check is about.
            Ok(None) => {
                let remedy = self.remedy_of(service, &action, part, test);
                if let Some(check) = self.out.checks.get_mut(first) {
                    check.beside.retain(|(key, _)| *key != "actions");
                    service.told.iter().chain(&remedy).for_each(|name| check.add("actions", name));
                    check.set("retries", test.cycles - 1);
                }
                return;
            }
            Err(why) => return service.lost.push((part.clone(), why)),
        };
        if service.sort == "program" {
            return self.status(service, part, test, made, &action);
        }
        if test.apart {
            service.lost.push((part.clone(), "as many failures in a row count, not as many within more cycles"));
        }
        let others: Vec<String> = test.otherwise.iter().map(Token::lower).collect();
        if others.last().is_some_and(|word| word != "alert") {
            service.lost.push((part.clone(), "what is to be done when it is over is a `script` with `on: [recovery]`"));
        }
        let remedy = self.remedy_of(service, &action, part, test);
        // What has the same attempts and actions is tested by one check.
        let retries = Setting::from(test.cycles - 1);
        let mut actions: Vec<&String> = service.told.iter().collect();
        actions.extend(&remedy);
        let same = |check: &Item| {
            let has = |key: &str, value: &Setting| check.beside.iter().any(|(k, v)| *k == key && v == value);
            let names = Setting::from(actions.iter().map(|name| name.as_str()).collect::<Vec<_>>());
            check.kind == made.kind
                && check.place == service.head.place
                && has("retries", &retries)
                && (has("actions", &names)
                    || actions.is_empty() && !check.beside.iter().any(|(key, _)| *key == "actions"))
        };
        let (settings, notes) = (made.settings.clone(), made.notes.clone());
        let merged = self
            .out
            .checks
            .iter_mut()
            .rev()
            .take_while(|check| check.place == service.head.place)
            .filter(|check| same(check))
            .any(|check| join(check, &settings));
        if merged {
            service.lost.extend(notes.into_iter().map(|note| (part.clone(), note)));
            return;
        }
        service.lost.extend(notes.into_iter().map(|note| (part.clone(), note)));
        let item = self.item(service, made, test.cycles - 1, remedy.as_ref());
        self.out.checks.push(item);
    }

    /// `if status ..`: what the check of a program is about in any case.
    fn status(&mut self, service: &mut Service<'_>, part: &Statement, test: &Test, made: Made, action: &str) {
        let remedy = self.remedy_of(service, action, part, test);
        let notes = made.notes.into_iter().map(|note| (part.clone(), note));
        service.lost.extend(notes);
        let last =
            self.out.checks.last_mut().filter(|check| check.place == service.head.place && check.kind == made.kind);
        let Some(check) = last.filter(|check| !check.comments.iter().any(|comment| comment == STATUS)) else {
            return service.lost.push((part.clone(), "a check has one list of exit statuses for each state"));
        };
        check.comments.push(STATUS.to_owned());
        check.settings = made.settings;
        check.set("retries", test.cycles - 1);
        if let Some(name) = &remedy {
            check.add("actions", name);
        }
    }

    /// `if 3 restarts within 5 cycles then ..`.
    fn restarts(&mut self, service: &mut Service<'_>, part: &Statement, test: &Test) {
        let count = test.condition.tokens.iter().find_map(|token| token.text.parse::<u64>().ok());
        match (count.filter(|count| *count > 0), self.remedy(service, "restart")) {
            (Some(count), Some(name)) => {
                Actions::limit(self.out, &name, count);
                service.lost.push((
                    part.clone(),
                    "the script has a `limit`: it is set off so often in one problem, whatever the time",
                ));
            }
            _ => service.lost.push((part.clone(), "nothing is restarted here")),
        }
    }

    fn remedy_of(&mut self, service: &mut Service<'_>, action: &str, part: &Statement, test: &Test) -> Option<String> {
        match action {
            "alert" => None,
            "start" | "stop" | "restart" if service.passive => None,
            "start" | "stop" | "restart" => {
                let name = self.remedy(service, action);
                if name.is_none() {
                    service.lost.push((part.clone(), "it does not say which program does that"));
                }
                name
            }
            "exec" => {
                let then = Statement { tokens: test.then.clone(), place: part.place.clone() };
                if then.find("repeat").is_some() {
                    service
                        .lost
                        .push((part.clone(), "a script runs once for each change of state, and is not repeated"));
                }
                match Program::read(&then, 1) {
                    Ok(program) => {
                        self.actions.script(&format!("exec-{}", service.name), &[program], self.taken, self.out)
                    }
                    Err(why) => {
                        service.lost.push((part.clone(), why));
                        None
                    }
                }
            }
            _ => {
                service.lost.push((part.clone(), "the check goes on; whoever has seen the problem acknowledges it"));
                None
            }
        }
    }

    /// The script that starts, stops or restarts a service; none if no program is named.
    fn remedy(&mut self, service: &Service<'_>, action: &str) -> Option<String> {
        let (start, stop) = (service.start.clone(), service.stop.clone());
        let programs: Vec<Program> = match action {
            _ if service.passive => return None,
            "start" => start.into_iter().collect(),
            "stop" => stop.into_iter().collect(),
            "restart" => match &service.restart {
                Some(restart) => vec![restart.clone()],
                None => stop.into_iter().chain(start).collect(),
            },
            _ => return None,
        };
        self.actions.script(&format!("{action}-{}", service.name), &programs, self.taken, self.out)
    }

    fn item(&mut self, service: &Service<'_>, made: Made, retries: u64, remedy: Option<&String>) -> Item {
        let name =
            if made.suffix.is_empty() { service.name.clone() } else { format!("{}:{}", service.name, made.suffix) };
        let mut item = Item::new(self.taken.checks.take(&name), made.kind, made.settings, &service.head.place);
        item.comments.push(format!("From {}.", service.head.place));
        item.set("interval", service.interval);
        item.set("retry_interval", service.interval);
        item.set("retries", retries);
        if let Some(timeout) = made.timeout {
            item.set("timeout", timeout);
        }
        if let Some(group) = &service.label {
            item.set("labels", Setting::map([("group", group.as_str().into())]));
        }
        service.told.iter().chain(remedy).for_each(|name| item.add("actions", name));
        item
    }

    fn depend(&mut self, head: &Statement, parts: &[Statement]) {
        let own = self.made.get(head.word(2)).cloned().unwrap_or_default();
        for part in parts.iter().filter(|part| matches!(part.word(0), "depend" | "depends")) {
            for token in part.tokens.iter().skip(1).filter(|token| token.lower() != "on") {
                let on = self.made.get(&token.text).and_then(|checks| checks.first()).copied();
                match on.and_then(|on| self.out.checks.get(on)).map(|check| check.name.clone()) {
                    Some(on) => {
                        for index in &own {
                            if let Some(check) = self.out.checks.get_mut(*index).filter(|check| check.name != on) {
                                check.add("depends_on", &on);
                            }
                        }
                    }
                    None => self.out.lose(&part.place, &part.text(), "nothing was made of what it names"),
                }
            }
        }
    }
}

type Entries = Vec<(String, Setting)>;

/// Adds the conditions of a test to a check of the same kind, unless one is there on the same field.
fn join(check: &mut Item, settings: &Setting) -> bool {
    let split = |settings: &Setting| -> Option<(Entries, Entries)> {
        let Setting::Map(entries) = settings else { return None };
        let (bad, rest): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|(key, _)| key == "bad");
        let bad = bad.into_iter().next().map(|(_, bad)| bad);
        Some((if let Some(Setting::Map(bad)) = bad { bad } else { Vec::new() }, rest))
    };
    let (Some((old, rest)), Some((new, other))) = (split(&check.settings), split(settings)) else { return false };
    if rest != other || new.is_empty() || new.iter().any(|(key, _)| old.iter().any(|(known, _)| known == key)) {
        return false;
    }
    // Without a word about it, the kind itself says that none is bad; with one, it does not.
    if check.kind == "process" {
        return false;
    }
    for (key, value) in new {
        check.settings.entry("bad").insert(&key, value);
    }
    true
}
