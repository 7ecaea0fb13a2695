//! `monchero top` in a real terminal.
#![expect(clippy::disallowed_methods, reason = "each command of tmux ends at once")]

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{TestAgent, program, set_step};

/// A terminal with a shell in it, in a server of tmux of its own.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn open(agent: &TestAgent) -> Self {
        let terminal = Self { socket: agent.path("tmux") };
        let shell = "exec env -u NO_COLOR PS1='shell> ' sh -i";
        terminal.tmux(&["-f", "/dev/null", "-u", "new-session", "-d", "-x", "80", "-y", "24", shell]);
        terminal.wait_for("the shell", |seen| seen.contains("shell>"));
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words).stdin(Stdio::null()).env_remove("TMUX");
        let output = command.output().expect("tmux runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses keys by their names.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Writes a text.
    fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Starts `monchero top`.
    fn top(&self, agent: &TestAgent, options: &str) {
        let (program, socket) = (program(), agent.path("socket"));
        self.write(&format!("clear; {} top {options} --socket {}; echo ended $?", program.display(), socket.display()));
        self.press(&["Enter"]);
    }

    /// What is on the screen, once it is as wanted.
    fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let seen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&seen) {
                return seen;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}; what is seen:\n{seen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").status();
    }
}

/// A daemon with one problem.
fn troubled() -> TestAgent {
    let agent = TestAgent::configured("");
    set_step(&agent.path("step-of-shop"), 2, "CRITICAL: no answer | time=0.5s;0.3;2");
    let step = agent.script("step", "#!/bin/sh\nread -r status < \"$1\"\ntail -n +2 \"$1\"\nexit \"$status\"\n");
    agent.configure(&format!(
        "checks:\n  shop:\n    plugin: {} {{dir}}/step-of-shop\n    interval: 1h\n    retries: 0\n    labels: {{ team: web }}\n  job:\n    heartbeat: {{ period: 1d, grace: 1h }}\n",
        step.display()
    ));
    agent
}

#[test]
fn a_session_from_start_to_end() {
    let mut agent = troubled();
    agent.launch();
    assert_eq!(agent.command(&["run", "shop"]).status.code(), Some(2));
    agent.wait_for_state("shop", "bad", "hard");
    let terminal = Terminal::open(&agent);
    terminal.top(&agent, "");
    let seen = terminal.wait_for("the list", |seen| seen.contains("> shop") && seen.contains("? help"));
    assert!(seen.contains("1 bad") && seen.contains("no answer"), "{seen}");

    terminal.write("/team=web");
    terminal.wait_for("the filter", |seen| seen.contains("filter: team=web") && !seen.contains("self/"));
    terminal.press(&["Escape"]);
    terminal.wait_for("the list without a filter", |seen| seen.contains("self/store"));

    terminal.press(&["a"]);
    terminal.wait_for("the questions", |seen| seen.contains("acknowledge shop"));
    terminal.write("on it");
    terminal.press(&["Enter", "Enter"]);
    terminal.wait_for("the acknowledgement", |seen| seen.contains("[acknowledged] "));
    terminal.press(&["Enter"]);
    terminal.wait_for("the details", |seen| seen.contains("on it") && seen.contains("is warning above 300 ms"));
    terminal.press(&["u", "Escape"]);
    terminal.wait_for("no acknowledgement", |seen| seen.contains("> shop") && !seen.contains("[acknowledged] "));

    set_step(&agent.path("step-of-shop"), 0, "OK: fast");
    terminal.press(&["r"]);
    terminal.wait_for("the run", |seen| seen.contains("shop: okay"));
    terminal.press(&["p"]);
    terminal.wait_for("no problem", |seen| seen.contains("no problems"));
    terminal.press(&["p"]);

    agent.stop();
    terminal.wait_for("the daemon to be away", |seen| seen.contains("STALE") && seen.contains("self/store"));
    agent.launch();
    terminal.wait_for("the daemon to be back", |seen| !seen.contains("STALE") && seen.contains("self/store"));

    terminal.tmux(&["resize-window", "-x", "40", "-y", "8"]);
    terminal.wait_for("a small screen", |seen| seen.contains("? help") && !seen.contains("ATTEMPT"));
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.wait_for("a usual screen", |seen| seen.contains("ATTEMPT"));

    terminal.press(&["q"]);
    terminal.wait_for("the shell as it was", |seen| seen.contains("ended 0") && !seen.contains("ATTEMPT"));
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let mut agent = troubled();
    agent.launch();
    let terminal = Terminal::open(&agent);
    let list = |seen: &str| seen.contains("? help") && seen.contains("self/store");
    for (signal, name) in [("TERM", "terminate"), ("HUP", "hangup"), ("INT", "interrupt")] {
        terminal.top(&agent, "");
        terminal.wait_for("the list", list);
        let pid = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let pid = pid.trim();
        let kill = format!("kill -{signal} $(cat /proc/{pid}/task/{pid}/children)");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        terminal.wait_for(name, |seen| seen.contains("ended 0") && !seen.contains("? help"));
        // What is written is seen again.
        terminal.write("echo seen again");
        terminal.wait_for("an echo", |seen| seen.contains("echo seen again"));
        terminal.press(&["Enter"]);
    }
    terminal.top(&agent, "");
    terminal.wait_for("the list", list);
    terminal.press(&["C-z"]);
    terminal.wait_for("the shell", |seen| !seen.contains("? help") && seen.contains("shell>"));
    terminal.write("fg");
    terminal.press(&["Enter"]);
    terminal.wait_for("the list again", list);
    terminal.press(&["C-c"]);
    terminal.wait_for("the shell again", |seen| !seen.contains("? help") && seen.contains("shell>"));
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let agent = TestAgent::configured("");
    let output = agent.command(&["top"]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "monchero: `top` needs a terminal that can be drawn on\nhint: without one, ask when you want to know: `monchero status`\n"
    );
}
