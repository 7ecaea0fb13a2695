//! What a service and its conditions become: a kind and its settings.

use super::super::Setting;
use super::lines::{Statement, Token};
use super::services::Service;
use super::tests_of::{Limit, Made, owner, port, timeout, url};

impl Service<'_> {
    fn process(&self) -> Setting {
        if self.pattern {
            Setting::map([("command", Setting::map([("regex", self.about.as_str().into())]))])
        } else {
            Setting::map([("pid_file", self.about.as_str().into())])
        }
    }

    fn disk(&self) -> Setting {
        let path = Setting::from(self.about.as_str());
        if self.about.starts_with("/dev/") {
            Setting::map([("only", Setting::map([("device", path)]))])
        } else {
            Setting::map([("path", path)])
        }
    }

    /// What is looked at without any test.
    pub(super) fn main_check(&mut self) -> Option<Made> {
        let path = |path: &str| Setting::map([("path", path.into())]);
        Some(match self.sort.as_str() {
            "process" => Made::new("process", self.process(), ""),
            "file" => Made::new("file", path(&self.about), ""),
            "directory" => Made::bad("file", path(&self.about), "type", "!directory", ""),
            "fifo" => Made::bad("file", path(&self.about), "type", "!pipe", ""),
            "filesystem" => Made::new("disk", self.disk(), ""),
            "network" if self.head.after("address").is_none() => {
                Made::new("network", Setting::map([("interface", self.about.as_str().into())]), "")
            }
            "program" => {
                let words = shell_words::split(&self.about).ok().filter(|words| !words.is_empty());
                let Some(words) = words else {
                    self.lost.push((self.head.clone(), "no program is named"));
                    return None;
                };
                let mut settings = Setting::map([("command", Setting::command(words)), ("format", "exit-code".into())]);
                if let Some(user) = self.head.after("uid") {
                    settings.insert("run_as", user);
                }
                let mut made = Made::new("plugin", settings, "");
                made.timeout = timeout(self.head);
                made
            }
            "host" | "system" => return None,
            _ => {
                self.lost.push((self.head.clone(), "nothing is made of checks of this type"));
                return None;
            }
        })
    }

    /// What a condition becomes; none if it is the first check itself.
    pub(super) fn made(&self, condition: &Statement) -> Result<Option<Made>, &'static str> {
        let words: Vec<String> = condition.tokens.iter().map(Token::lower).collect();
        let has = |word: &str| words.iter().any(|known| known == word);
        if has("exist") || has("exists") {
            return if has("not") { Ok(None) } else { Err("`absent: true` of the kind `file` is set by hand") };
        }
        if has("failed") && has("port") {
            let host = if self.sort == "host" { self.about.as_str() } else { "localhost" };
            return port(condition, host).map(Some);
        }
        if has("failed") && has("url") {
            return url(condition).map(Some);
        }
        if has("failed") && (has("ping") || has("icmp") || has("ping4") || has("ping6")) {
            let mut settings = Setting::map([("host", self.about.as_str().into())]);
            if let Some(count) = condition.after("count").and_then(|count| count.parse::<u64>().ok()) {
                settings.insert("count", count.clamp(1, 1000));
            }
            let mut made = Made::new("ping", settings, "ping");
            made.timeout = timeout(condition);
            return Ok(Some(made));
        }
        let content = words.iter().any(|word| ["checksum", "size", "timestamp"].contains(&word.as_str()));
        if has("changed") && !(self.sort == "file" && content) {
            return Err("only that the content of a file has changed is noticed");
        }
        if has("failed") && has("unixsocket") {
            return Err("write it by hand: kinds of services that can be reached so take its path as `address`");
        }
        let made = match self.sort.as_str() {
            "process" => self.of_process(condition, &words),
            "file" | "directory" | "fifo" => self.of_file(condition, &words),
            "filesystem" => self.of_disk(condition, &words),
            "system" => of_system(condition, &words),
            "program" => self.of_program(condition, &words),
            "network" => self.of_network(condition, &words),
            _ => Err("monchero has no such test"),
        };
        made.map(Some)
    }

    fn of_process(&self, condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
        let has = |word: &str| words.iter().any(|known| known.starts_with(word));
        let limit = Limit::read(condition)?;
        let one = |field: &str, when: Setting, suffix: &str| Made::bad("process", self.process(), field, when, suffix);
        let total = has("total");
        Ok(if total && has_memory(words) && !limit.is_percent() {
            one("total_rss", limit.size()?, "memory")
                .note("only the process itself is measured, not its children, unless `name` chooses them")
        } else if has("mem") && !limit.is_percent() {
            one("rss", limit.size()?, "memory")
        } else if total && words.iter().any(|word| word.contains("cpu")) {
            one("total_cpu", limit.percent(), "cpu").note(
                "100% is one CPU here, and all CPUs for Monit; only the process itself is measured, not its children",
            )
        } else if has("cpu") {
            one("cpu", limit.percent(), "cpu").note("100% is one CPU here, and all CPUs for Monit")
        } else if has("thread") {
            one("threads", limit.number(), "threads")
        } else if has("uptime") {
            one("age", limit.time()?, "uptime")
        } else {
            return Err("a process has no such number here: see `monchero kinds process`");
        })
    }

    fn of_file(&self, condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
        let has = |word: &str| words.iter().any(|known| known == word);
        if has("failed")
            && let Some(made) = owner(condition, &self.about)
        {
            return Ok(made);
        }
        let file = || Setting::map([("path", self.about.as_str().into())]);
        let changed = |made: &str| {
            let mut settings = file();
            settings.insert("changed", made);
            Made::new("file", settings, "content")
        };
        if has("checksum") {
            return match condition.after("sum") {
                Some(sum) if sum.len() == 64 => {
                    Ok(Made::bad("file", file(), "sha256", format!("!{}", sum.to_lowercase()), "checksum"))
                }
                Some(_) => Err("checksums are SHA-256 here: write `bad: { sha256: \"!..\" }`"),
                None => Ok(changed("bad")),
            };
        }
        if has("changed") {
            return Ok(changed("bad"));
        }
        if ["access", "atime", "change", "ctime"].into_iter().any(has) {
            return Err("only when the content was changed is known of a file");
        }
        if has("timestamp") || has("mtime") {
            return Ok(Made::bad("file", file(), "age", Limit::read(condition)?.time()?, "age"));
        }
        if has("size") {
            return Ok(Made::bad("file", file(), "size", Limit::read(condition)?.size()?, "size"));
        }
        if has("content") || has("match") {
            return Err("make a check of the kind `log`, which looks at the lines that are new");
        }
        Err("a file has no such field here: see `monchero kinds file`")
    }

    fn of_disk(&self, condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
        let has = |word: &str| words.iter().any(|known| known == word);
        if has("failed")
            && let Some(made) = owner(condition, &self.about)
        {
            return Ok(made);
        }
        let limit = Limit::read(condition)?;
        let one = |field: &str, when: Setting, suffix: &str| Made::bad("disk", self.disk(), field, when, suffix);
        Ok(match (has("inode"), has("space"), has("free"), limit.is_percent()) {
            (true, _, false, true) => one("inodes", limit.percent(), "inodes"),
            (true, _, true, false) => one("inodes_free", limit.number(), "inodes"),
            (_, true, false, true) => one("used", limit.percent(), "space"),
            (_, true, true, false) => one("free", limit.size()?, "space"),
            _ => {
                return Err(
                    "write it as `used`, `free`, `inodes` or `inodes_free` of the kind `disk`, or use `diskio`",
                );
            }
        })
    }

    fn of_program(&self, condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
        if !words.iter().any(|word| word == "status") {
            return Err("a program is judged by its exit status");
        }
        let (operator, status) = Limit::read(condition)?.status();
        let words = shell_words::split(&self.about).map_err(|_| "a quote is opened and never closed")?;
        let mut settings = Setting::map([("command", Setting::command(words)), ("format", "exit-code".into())]);
        if let Some(user) = self.head.after("uid") {
            settings.insert("run_as", user);
        }
        match (operator, status) {
            ("!=" | ">", 0) => Ok(Made::new("plugin", settings, "status")),
            ("==", status) => {
                let others: Vec<u64> = (0..=255).filter(|other| *other != u64::from(status)).collect();
                if status == 0 {
                    settings.insert("bad", vec![0_u64]);
                    settings.insert("okay", others);
                } else {
                    settings.insert("bad", vec![u64::from(status)]);
                }
                let made = Made::new("plugin", settings, "status");
                Ok(if status == 0 { made } else { made.note("every other exit status than this and 0 is unknown") })
            }
            _ => Err("write the exit statuses into the lists `okay`, `warning` and `bad` of the kind `plugin`"),
        }
    }

    fn of_network(&self, condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
        let has = |word: &str| words.iter().any(|known| known == word);
        let network = Setting::map([("interface", self.about.as_str().into())]);
        if has("link") && has("up") {
            return Err("that a link is up is no problem here: write `bad: { link: up }` by hand");
        }
        if has("link") {
            return Ok(Made::bad("network", network, "link", "!up", "link"));
        }
        let limit = Limit::read(condition)?;
        let rate = limit.size();
        Ok(match (has("saturation"), has("download"), has("upload")) {
            (true, ..) => Made::bad("network", network, "share", limit.percent(), "saturation"),
            (_, true, _) if !has("total") => Made::bad("network", network, "in", rate?, "download"),
            (_, _, true) if !has("total") => Made::bad("network", network, "out", rate?, "upload"),
            _ => return Err("an interface has no such number here: see `monchero kinds network`"),
        })
    }
}

/// Whether it is about memory: `memory`, `mem`, `totalmem`.
fn has_memory(words: &[String]) -> bool {
    words.iter().any(|word| word.contains("mem"))
}

fn of_system(condition: &Statement, words: &[String]) -> Result<Made, &'static str> {
    let has = |word: &str| words.iter().any(|known| known.contains(word));
    let limit = Limit::read(condition)?;
    let none = || Setting::Map(Vec::new());
    if has("loadavg") {
        let minutes = if has("15min") {
            "15"
        } else if has("5min") {
            "5"
        } else {
            "1"
        };
        let field = if has("core") { format!("per_core{minutes}") } else { format!("load{minutes}") };
        return Ok(Made::bad("load", none(), &field, limit.number(), &format!("load{minutes}")));
    }
    if has("cpu") {
        let field = if has("user") {
            "user"
        } else if has("sys") {
            "system"
        } else if has("wait") {
            "iowait"
        } else if has("steal") {
            "steal"
        } else if ["nice", "irq", "guest"].into_iter().any(has) {
            return Err("this share of the CPU has no field of its own: see `monchero kinds cpu`");
        } else {
            "use"
        };
        return Ok(Made::bad("cpu", none(), field, limit.percent(), "cpu"));
    }
    if has("mem") {
        return Ok(if limit.is_percent() {
            Made::bad("memory", none(), "used", limit.percent(), "memory")
        } else {
            return Err("memory in use is limited in percent, or by `available`");
        });
    }
    if has("swap") && limit.is_percent() {
        return Ok(Made::bad("memory", none(), "swap", limit.percent(), "swap"));
    }
    if has("uptime") {
        return Ok(Made::bad("uptime", none(), "up", limit.time()?, "uptime"));
    }
    Err("the system has no such number here: see `monchero kinds`")
}
