//! A daemon with a secret in every place that takes one, among services that refuse, repeat what they were sent, point elsewhere and
//! break off. Whatever was written, and whatever can be read, has none of them (R67).

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use support::TestAgent;

/// How every secret of these tests begins: a part of one that was cut is found too.
const CANARY: &str = "cAnArY0";

/// A check or an action whose settings hold one secret, in a file of its own.
struct Place {
    name: String,
    section: &'static str,
    /// `CANARY` stands for the secret, alone on the line of its key.
    yaml: String,
}

impl Place {
    /// Whether a text in its place is no secret: then a secret stands elsewhere.
    fn takes_plain_texts(&self) -> bool {
        ["http-form", "http-header", "webhook-header"].contains(&self.name.as_str())
    }

    fn secret(&self) -> String {
        format!("{CANARY}x{:016x}x{}", fnv(&self.name), self.name.replace('-', ""))
    }
}

/// A number that a name alone decides, so that a failure can be looked up.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a service does with whoever comes.
#[derive(Clone, Copy)]
enum Manner {
    /// HTTP: this status, and the whole request in the body.
    Repeats(u16),
    /// HTTP: points to the same address on another port, which nobody listens on, and repeats the request.
    Redirects,
    /// HTTP: takes it.
    Takes,
    /// Lines: says this first, and repeats each line behind this.
    Lines(&'static str, &'static str),
    /// SMTP: asks for a login and repeats what it was given.
    Mail,
    /// NUT: has a UPS whose name is the password that it was given.
    Ups,
}

/// A service on a port of its own; keeps what it was sent.
struct Service {
    port: u16,
    heard: Arc<Mutex<String>>,
}

impl Service {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<String>> = Arc::default();
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // Who breaks off has broken off.
                std::thread::spawn(move || drop(serve(stream, manner, &kept)));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, manner: Manner, heard: &Mutex<String>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let status = match manner {
        Manner::Lines(greeting, answer) => {
            return repeat_lines(stream, reader, greeting, |line| format!("{answer}{line}"));
        }
        Manner::Mail => {
            return repeat_lines(stream, reader, "220 mail.example ESMTP", |line| match line.get(..4) {
                Some("EHLO") => "250-mail.example\r\n250 AUTH PLAIN LOGIN".to_owned(),
                _ => format!("535 5.7.8 no such login: {line}"),
            });
        }
        Manner::Ups => {
            let name = Mutex::new(String::new());
            return repeat_lines(stream, reader, "", |line| ups(line, &mut name.lock().unwrap()));
        }
        Manner::Repeats(status) => status,
        Manner::Redirects => 302,
        Manner::Takes => 200,
    };
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let lower = request.to_lowercase();
    let length =
        lower.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.push_str(&String::from_utf8_lossy(&body));
    let _ = writeln!(heard.lock().unwrap(), "{request}");
    let target = request.split_whitespace().nth(1).unwrap_or("/");
    let location = if status == 302 { format!("location: http://127.0.0.1:1{target}\r\n") } else { String::new() };
    write!(
        stream,
        "HTTP/1.1 {status} So\r\n{location}connection: close\r\ncontent-length: {}\r\n\r\n{request}",
        request.len()
    )
}

/// What a server of Network UPS Tools answers whose UPS has this name, once it was told a password.
fn ups(line: &str, name: &mut String) -> String {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("PASSWORD", password) => {
            password.trim_matches('"').clone_into(name);
            "OK".to_owned()
        }
        ("LIST", "UPS") => format!("BEGIN LIST UPS\r\nUPS {name} \"of {name}\"\r\nEND LIST UPS"),
        ("LIST", _) => {
            let var = |variable: &str| format!("VAR {name} {variable}\r\n");
            let variables = [var("ups.status \"OB\""), var("battery.charge \"90\""), var("ups.load \"10\"")].concat();
            format!("BEGIN LIST VAR {name}\r\n{variables}END LIST VAR {name}")
        }
        _ => "OK".to_owned(),
    }
}

fn repeat_lines(
    mut stream: TcpStream,
    reader: BufReader<TcpStream>,
    greeting: &str,
    answer: impl Fn(&str) -> String,
) -> std::io::Result<()> {
    if !greeting.is_empty() {
        write!(stream, "{greeting}\r\n")?;
    }
    for line in reader.lines() {
        write!(stream, "{}\r\n", answer(&line?))?;
    }
    Ok(())
}

/// The services of the test.
struct Services {
    refuses: Service,
    fails: Service,
    redirects: Service,
    takes: Service,
    nut: Service,
    ups: Service,
    redis: Service,
    imap: Service,
    pop3: Service,
    mail: Service,
    garbage: Service,
}

impl Services {
    fn start() -> Self {
        Self {
            refuses: Service::start(Manner::Repeats(401)),
            fails: Service::start(Manner::Repeats(503)),
            redirects: Service::start(Manner::Redirects),
            takes: Service::start(Manner::Takes),
            nut: Service::start(Manner::Lines("", "ERR ACCESS-DENIED ")),
            ups: Service::start(Manner::Ups),
            redis: Service::start(Manner::Lines("", "-ERR no ")),
            imap: Service::start(Manner::Lines("* OK ready", "")),
            pop3: Service::start(Manner::Lines("+OK ready", "-ERR no ")),
            mail: Service::start(Manner::Mail),
            garbage: Service::start(Manner::Lines("what?", "no ")),
        }
    }
}

/// Every kind that takes a secret, at least once.
fn places(at: &Services) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |section: &'static str, name: &str, yaml: String| {
        places.push(Place { name: name.to_owned(), section, yaml });
    };
    let (refuses, fails, redirects, takes) = (at.refuses.port, at.fails.port, at.redirects.port, at.takes.port);
    let (garbage, closed) = (at.garbage.port, 1);
    for (name, yaml) in [
        ("http-basic", format!("url: http://127.0.0.1:{refuses}/a\nbasic:\n  user: me\n  password: CANARY")),
        ("http-bearer", format!("url: http://127.0.0.1:{takes}/b\nbearer: CANARY")),
        ("http-redirect", format!("url: http://127.0.0.1:{redirects}/c\nbearer: CANARY")),
        ("http-unanswered", format!("url: http://127.0.0.1:{closed}/\nbearer: CANARY")),
        ("http-no-tls", format!("url: https://127.0.0.1:{garbage}/\nbearer: CANARY")),
        ("http-form", format!("url: http://127.0.0.1:{fails}/d\nform:\n  password: CANARY\nexpect: {{ body: fine }}")),
        ("http-header", format!("url: http://127.0.0.1:{fails}/e\nheaders:\n  Authorization: CANARY")),
        ("http-proxy", format!("url: http://service.invalid/\nproxy:\n  url: http://127.0.0.1:{refuses}\n  user: me\n  password: CANARY")),
        ("grafana", format!("url: http://127.0.0.1:{refuses}/\nbearer: CANARY")),
        ("loki", format!("url: http://127.0.0.1:{redirects}/\nbearer: CANARY")),
        ("snmp", "address: 127.0.0.1:1\nv3:\n  user: me\n  auth: sha\n  auth_password: CANARY\nrequest_timeout: 100ms\nprofile: ups".to_owned()),
        ("snmp-privacy", "address: 127.0.0.1:1\nv3:\n  user: me\n  auth: sha\n  auth_password: { env: KNOWN }\n  privacy: aes\n  privacy_password: CANARY\nrequest_timeout: 100ms\nprofile: ups".to_owned()),
        ("snmp-community", "address: 127.0.0.1:1\ncommunity: CANARY\nrequest_timeout: 100ms\nprofile: ups".to_owned()),
        ("nut", format!("address: 127.0.0.1:{}\nuser: me\npassword: CANARY", at.nut.port)),
        ("nut-named", format!("address: 127.0.0.1:{}\nuser: me\npassword: CANARY", at.ups.port)),
        ("redis", format!("address: 127.0.0.1:{}\npassword: CANARY", at.redis.port)),
        ("memcached", format!("address: 127.0.0.1:{garbage}\nuser: me\npassword: CANARY")),
        ("imap", format!("address: 127.0.0.1:{}\nlogin:\n  user: me\n  password: CANARY", at.imap.port)),
        ("pop3", format!("address: 127.0.0.1:{}\nlogin:\n  user: me\n  password: CANARY", at.pop3.port)),
        ("smtp", format!("address: 127.0.0.1:{}\nlogin:\n  user: me\n  password: CANARY", at.mail.port)),
        ("mqtt", format!("address: 127.0.0.1:{garbage}\nuser: me\npassword: CANARY")),
        ("ldap", format!("address: 127.0.0.1:{garbage}\nuser: cn=me\npassword: CANARY")),
        ("postgres", format!("address: 127.0.0.1:{garbage}\nuser: me\npassword: CANARY")),
        ("mysql", format!("address: 127.0.0.1:{closed}\nuser: me\npassword: CANARY")),
    ] {
        add("checks", name, yaml);
    }
    for (name, yaml) in [
        ("slack", format!("webhook: http://127.0.0.1:{refuses}/services/CANARY")),
        ("discord", format!("webhook: http://127.0.0.1:{redirects}/api/webhooks/1/CANARY")),
        ("teams", format!("webhook: http://127.0.0.1:{fails}/workflows/CANARY")),
        ("mattermost", format!("webhook: http://127.0.0.1:{closed}/hooks/CANARY")),
        ("rocketchat", format!("webhook: https://127.0.0.1:{garbage}/hooks/CANARY")),
        ("telegram", format!("url: http://127.0.0.1:{refuses}\nchat: '-1'\ntoken: CANARY")),
        ("matrix", format!("url: http://127.0.0.1:{refuses}\nroom: '!a:b'\ntoken: CANARY")),
        ("ntfy", format!("url: http://127.0.0.1:{refuses}\ntopic: CANARY")),
        (
            "ntfy-password",
            format!("url: http://127.0.0.1:{refuses}\ntopic: {{ env: KNOWN }}\nuser: me\npassword: CANARY"),
        ),
        ("gotify", format!("url: http://127.0.0.1:{fails}\ntoken: CANARY")),
        ("pushover", format!("url: http://127.0.0.1:{refuses}\nuser: {{ env: KNOWN }}\ntoken: CANARY")),
        ("pushover-user", format!("url: http://127.0.0.1:{fails}\ntoken: {{ env: KNOWN }}\nuser: CANARY")),
        ("pagerduty", format!("url: http://127.0.0.1:{refuses}\nkey: CANARY")),
        ("opsgenie", format!("url: http://127.0.0.1:{refuses}\nkey: CANARY")),
        ("alertmanager", format!("url: http://127.0.0.1:{refuses}\nuser: me\npassword: CANARY")),
        ("apprise", format!("url: http://127.0.0.1:{refuses}\nkey: CANARY")),
        ("webhook", format!("url: http://127.0.0.1:{refuses}/hooks?token=CANARY")),
        ("webhook-signed", format!("url: http://127.0.0.1:{takes}/signed\nsecret: CANARY")),
        ("webhook-header", format!("url: http://127.0.0.1:{refuses}/header\nheaders:\n  Authorization: CANARY")),
        (
            "webhook-proxy",
            format!(
                "url: http://service.invalid/\nconnection:\n  proxy: http://127.0.0.1:{refuses}\n  proxy_user: me\n  proxy_password: CANARY"
            ),
        ),
        (
            "email",
            format!(
                "to: [a@example.org]\nsmtp:\n  host: 127.0.0.1\n  port: {}\n  tls: none\n  user: me\n  password: CANARY",
                at.mail.port
            ),
        ),
    ] {
        add("actions", name, yaml);
    }
    places
}

/// The kind of a place: its name up to what tells it from others of its kind.
fn kind(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// How a secret stands in a file.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Text,
    File,
    Env,
    Credential,
}

const WAYS: [Way; 4] = [Way::Text, Way::File, Way::Env, Way::Credential];

/// The YAML of a place with its secret written in this way.
fn written(folder: &Path, place: &Place, way: Way) -> String {
    let secret = place.secret();
    let variable = format!("PLACE_{}", place.name.replace('-', "_"));
    let whole = |value: &str| {
        // An address with a secret in it is a secret as a whole.
        let line = |line: &str| match line.split_once(": ") {
            Some((key, value_there)) if value_there.contains("CANARY") => format!("{key}: {value}"),
            _ => line.replace("CANARY", value),
        };
        place.yaml.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    match way {
        Way::Text => place.yaml.replace("CANARY", &secret),
        Way::File => whole(&format!("{{ file: {}/secrets/{} }}", folder.display(), place.name)),
        Way::Env => whole(&format!("{{ env: {variable} }}")),
        Way::Credential => whole(&format!("{{ credential: {} }}", place.name)),
    }
}

/// The text that stands in the file, the variable or the credential of a place.
fn content(place: &Place) -> String {
    let line = place.yaml.lines().find(|line| line.contains("CANARY")).unwrap();
    let value = line.split_once(": ").map_or(line, |(_, value)| value).trim();
    value.replace("CANARY", &place.secret())
}

fn write_secretly(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn entry(place: &Place, settings: &str) -> String {
    let indented: String = settings.lines().map(|line| format!("      {line}\n")).collect();
    let general = match place.section {
        "checks" => "    interval: 1s\n    retries: 0\n    timeout: 3s\n",
        _ => "    group: 0s\n",
    };
    format!("{}:\n  at-{}:\n    {}:\n{indented}{general}", place.section, place.name, kind(&place.name))
}

/// Runs a command of the program with the environment of the daemon.
#[expect(clippy::disallowed_methods, reason = "the commands end by themselves")]
fn monchero(agent: &TestAgent, env: &BTreeMap<String, String>, words: &[&str]) -> Output {
    let mut command = Command::new(support::program());
    command.args(words).arg("--config").arg(agent.folder.path());
    command.arg("--state-dir").arg(agent.path("state")).arg("--socket").arg(agent.path("socket"));
    command.envs(env).stdin(Stdio::null()).output().unwrap()
}

/// Everything that could be read, by where that was.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn command(&mut self, agent: &TestAgent, env: &BTreeMap<String, String>, words: &[&str]) -> String {
        let Output { stdout, stderr, .. } = monchero(agent, env, words);
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        assert!(!text.is_empty(), "{words:?} says nothing");
        self.add(format!("monchero {words:?}"), text.clone());
        text
    }

    /// All files below a directory.
    fn files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.files(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.add(path.display().to_string(), bytes);
            }
        }
    }

    /// Where something of these secrets is, with what stands around it.
    fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let mut needles: Vec<Vec<u8>> = vec![CANARY.into()];
        for secret in secrets {
            for offset in 0..3 {
                let padded = [&[0; 2][..offset], secret.as_bytes()].concat();
                let text = STANDARD_NO_PAD.encode(&padded);
                needles.push(text[(offset * 8).div_ceil(6)..padded.len() * 8 / 6].into());
            }
        }
        let mut leaks = Vec::new();
        for (place, bytes) in &self.0 {
            for needle in &needles {
                let found = bytes.windows(needle.len()).enumerate().filter(|(_, window)| window == needle);
                leaks.extend(found.map(|(at, _)| {
                    let around = &bytes[at.saturating_sub(150)..(at + 80).min(bytes.len())];
                    format!("{place}: {}", String::from_utf8_lossy(around).escape_debug())
                }));
            }
        }
        leaks
    }
}

/// The processes below this one, as everybody sees them.
fn descendants(pid: i32) -> Vec<(String, Vec<u8>)> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let below = all.filter(|child| {
        let ancestors = std::iter::successors(parent(*child), |pid| parent(*pid));
        ancestors.take(10).any(|ancestor| ancestor == pid)
    });
    let read = |pid: i32, file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    below
        .flat_map(|pid| {
            [("cmdline", pid), ("environ", pid)].map(|(file, pid)| (format!("{file} of {pid}"), read(pid, file)))
        })
        .collect()
}

struct Scene {
    agent: TestAgent,
    env: BTreeMap<String, String>,
    places: Vec<Place>,
    services: Services,
}

impl Scene {
    /// Everything is configured; nothing runs yet.
    fn new() -> Self {
        let services = Services::start();
        let places = places(&services);
        let mut agent = TestAgent::configured("checks: {}");
        let folder = agent.folder.path().to_owned();
        fs::create_dir(folder.join("secrets")).unwrap();
        let mut env = BTreeMap::new();
        env.insert("CREDENTIALS_DIRECTORY".to_owned(), folder.join("secrets").display().to_string());
        env.insert("KNOWN".to_owned(), format!("{CANARY}known"));
        env.insert("MONCHERO_LOG".to_owned(), "debug".to_owned());
        for (place, way) in places.iter().zip(WAYS.into_iter().cycle()) {
            let way = if place.takes_plain_texts() { Way::File } else { way };
            write_secretly(&folder.join("secrets").join(&place.name), &content(place));
            if way == Way::Env {
                env.insert(format!("PLACE_{}", place.name.replace('-', "_")), content(place));
            }
            write_secretly(
                &folder.join(format!("conf.d/{}.yaml", place.name)),
                &entry(place, &written(&folder, place, way)),
            );
        }
        let alive =
            format!("alive: {{ url: 'http://127.0.0.1:{}/{CANARY}alive', interval: 1s }}\n", services.refuses.port);
        write_secretly(&folder.join("monchero.yaml"), &alive);
        for (name, value) in &env {
            agent.set_env(name, value);
        }
        let targets: Vec<String> = places
            .iter()
            .filter(|place| place.section == "actions")
            .map(|place| format!("at-{}", place.name))
            .collect();
        agent.configure(&format!(
            "checks:
  trouble: {{ plugin: /usr/lib/nagios/plugins/check_dummy 2 trouble, interval: 1s, retries: 0, actions: [{}, book, chatty] }}
  sleeper: {{ plugin: /bin/sleep 60, interval: 2m, timeout: 70s }}
defaults: {{ actions: [book] }}
actions:
  book: {{ file: '{{dir}}/book.jsonl' }}
  chatty:
    script: {{ run: \"#!/bin/sh\\necho token $TOKEN; echo $TOKEN >&2; exit 1\\n\", secrets: {{ TOKEN: {{ file: '{{dir}}/secrets/slack' }} }} }}
    on: [bad]
",
            targets.join(", ")
        ));
        Self { agent, env, places, services }
    }

    fn secrets(&self) -> Vec<String> {
        self.places.iter().map(Place::secret).chain(["known", "alive"].map(|name| format!("{CANARY}{name}"))).collect()
    }

    /// What every reader of the running daemon gets.
    fn read(&self, seen: &mut Seen) {
        let (agent, env) = (&self.agent, &self.env);
        for (what, bytes) in descendants(agent.pid()) {
            seen.add(what, bytes);
        }
        let names: Vec<String> =
            agent.checks().iter().filter_map(|check| Some(check["name"].as_str()?.to_owned())).collect();
        for path in ["/v1/version", "/v1/status", "/v1/history?limit=2000", "/v1/downtime", "/v1/openapi.json"] {
            seen.add(path, agent.get(path).unwrap_or_else(|| panic!("{path} answers")).to_string());
        }
        for name in &names {
            let detail = agent.get(&format!("/v1/check?name={name}")).unwrap_or_else(|| panic!("`{name}` is shown"));
            seen.add(format!("/v1/check {name}"), detail.to_string());
        }
        for words in [
            &["status"][..],
            &["status", "--json"],
            &["show", "trouble"],
            &["show", "at-http-basic", "--json"],
            &["show", "at-nut-named"],
            &["show", "self/alive"],
            &["run", "at-http-form", "at-redis", "at-smtp"],
            &["config", "show"],
            &["config", "show", "--json"],
            &["config", "check"],
            &["history"],
            &["history", "trouble", "--json"],
            &["notify", "log"],
            &["notify", "log", "--json"],
            &["notify", "test", "at-webhook"],
            &["notify", "test", "at-email", "--json"],
            &["drill", "trouble", "bad", "--send"],
            &["kinds", "http"],
            &["paths"],
            &["discover"],
            &["reload"],
        ] {
            seen.command(agent, env, words);
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let mut scene = Scene::new();
    let good = monchero(&scene.agent, &scene.env, &["config", "check"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stdout));
    let mut seen = Seen::default();
    let once = seen.command(&scene.agent, &scene.env, &["once", "at-*", "trouble"]);
    assert!(once.contains("at-http-basic") && once.contains("at-postgres"), "{once}");
    seen.command(&scene.agent, &scene.env, &["once", "at-http-form", "at-imap", "--json"]);
    scene.agent.launch();
    let checks = || scene.places.iter().filter(|place| place.section == "checks");
    let targets = || scene.places.iter().filter(|place| place.section == "actions");
    scene.agent.wait_within(Duration::from_secs(60), "all checks to have run", |agent| {
        let rows = agent.checks();
        let ran = rows.iter().filter(|row| row["state"] != "pending" && row["name"] != "sleeper").count();
        rows.len()
            == checks().count()
                + 2
                + rows.iter().filter(|row| row["name"].as_str().is_some_and(|name| name.starts_with("self/"))).count()
            && ran + 1 >= rows.len()
    });
    scene.agent.wait_within(Duration::from_secs(60), "all targets to have been tried", |agent| {
        let history = agent.get("/v1/history?limit=2000").unwrap_or_default().to_string();
        targets().all(|place| history.contains(&format!("at-{}", place.name)))
    });
    scene.agent.wait_for("the script to have ended", |agent| {
        agent.get("/v1/history?check=trouble&limit=2000").unwrap_or_default().to_string().contains("exit status 1")
    });
    // The test is worth something only if the services were really told secrets, and the daemon heard them again.
    for service in [&scene.services.refuses, &scene.services.fails, &scene.services.redirects, &scene.services.takes] {
        assert!(service.heard().contains(CANARY), "a service was told no secret: {}", service.heard());
    }
    let ups = scene.agent.check("at-nut-named");
    let named =
        ups["metrics"].as_array().unwrap().iter().any(|metric| metric["label"].as_str().unwrap().contains("***"));
    assert!(named, "a metric was named after a secret: {ups:#}");
    let status = scene.agent.get("/v1/history?limit=2000").unwrap().to_string();
    assert!(status.contains("***"), "nothing had to be hidden: {status}");
    scene.read(&mut seen);
    let pid = scene.agent.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(
        core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "a crash leaves a core: {core}"
    );
    scene.agent.stop();
    for name in ["log", "book.jsonl"] {
        seen.add(name, fs::read(scene.agent.path(name)).unwrap());
    }
    seen.files(&scene.agent.path("state"));
    assert!(
        seen.0.iter().any(|(place, bytes)| place == "log" && bytes.windows(7).any(|w| w == b" debug ")),
        "it was logged at debug level"
    );
    let leaks = seen.leaks(&scene.secrets());
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

/// A way to write settings wrongly: its name, and what it makes of the line with the secret.
type Mistake = (&'static str, fn(&str, &str) -> String);

#[test]
fn no_mistake_in_the_configuration_shows_a_secret() {
    let scene = Scene::new();
    let mistakes: [Mistake; 9] = [
        ("a list", |key, value| format!("{key}: [{value}]")),
        ("a map", |key, value| format!("{key}: {{ text: {value} }}")),
        ("a map in a map", |key, value| format!("{key}: {{ file: {{ text: {value} }} }}")),
        ("a name that is misspelt", |key, value| format!("{}: {value}", &key[..key.len() - 1])),
        ("a letter that none can hold", |key, value| format!("{key}: \"{value}\\n\\u0001\"")),
        ("a doubled key", |key, value| format!("{key}: {value}\n{key}: {value}")),
        ("no end of the text", |key, value| format!("{key}: \"{value}")),
        ("a user in an address", |key, value| format!("{key}: http://me:{value}@127.0.0.1/")),
        ("behind something else", |key, value| format!("{key}: ok: {value}")),
    ];
    let mut seen = Seen::default();
    for (what, mistake) in mistakes {
        for place in &scene.places {
            let line = |line: &str| {
                if !line.contains("CANARY") {
                    return line.to_owned();
                }
                let indent = &line[..line.len() - line.trim_start().len()];
                let wrong = match line.trim_start().split_once(": ") {
                    Some((key, value)) => mistake(key, value),
                    None => unreachable!("it stands behind its key"),
                };
                wrong.lines().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
            };
            let settings =
                place.yaml.lines().map(line).collect::<Vec<_>>().join("\n").replace("CANARY", &place.secret());
            write_secretly(&scene.agent.path(&format!("conf.d/{}.yaml", place.name)), &entry(place, &settings));
        }
        for words in [&["config", "check"][..], &["config", "check", "--json"]] {
            let output = monchero(&scene.agent, &scene.env, words);
            assert_eq!(output.status.code(), Some(65), "{what}: {}", String::from_utf8_lossy(&output.stdout));
            seen.add(format!("{what}: {words:?}"), [output.stdout, output.stderr].concat());
        }
        seen.command(&scene.agent, &scene.env, &["config", "show"]);
    }
    // A file that every user can read holds none.
    for place in &scene.places {
        let path = scene.agent.path(&format!("conf.d/{}.yaml", place.name));
        fs::write(&path, entry(place, &place.yaml.replace("CANARY", &place.secret()))).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    let secrets = scene.places.iter().filter(|place| !place.takes_plain_texts()).count();
    let open = seen.command(&scene.agent, &scene.env, &["config", "check"]);
    assert!(open.matches("every user can read this file").count() >= secrets, "{open}");
    let leaks = seen.leaks(&scene.secrets());
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn what_stands_in_a_file_is_read_again_at_reload() {
    let service = Service::start(Manner::Takes);
    let mut agent = TestAgent::configured("checks: {}");
    write_secretly(&agent.path("token"), &format!("{CANARY}first\n"));
    agent.configure(&format!(
        "checks:\n  api: {{ http: {{ url: 'http://127.0.0.1:{}/', bearer: {{ file: '{{dir}}/token' }} }}, interval: 200ms }}\n",
        service.port
    ));
    agent.launch();
    agent.wait_for("the first token to be used", |_| service.heard().contains(&format!("Bearer {CANARY}first")));
    write_secretly(&agent.path("token"), &format!("{CANARY}second\n"));
    let reloaded = agent.command(&["reload"]);
    assert!(String::from_utf8_lossy(&reloaded.stdout).contains("1 changed"), "{reloaded:?}");
    agent.wait_for("the second token to be used", |_| service.heard().contains(&format!("Bearer {CANARY}second")));
    assert!(!agent.log().contains(CANARY), "{}", agent.log());
}
