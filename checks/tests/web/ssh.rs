//! `ssh` against OpenSSH (Debian: `openssh-server`).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use monchero_core::State;

use crate::process::{Server, free_port, user};
use crate::{run, value};

#[tokio::test]
async fn an_ssh_server_says_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let port = free_port();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none"]);
    command.args(["-p", &port.to_string()]).arg("-h").arg(&key);
    // As root it wants a directory in /run, as anybody else it does not.
    if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
        let (uid, gid) = user("nobody");
        for path in [folder.path(), &key] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        command.uid(uid).gid(gid);
    }
    let log = folder.path().join("log");
    let _server = Server::start(&mut command, &[port], &log);
    let result = run("ssh", &format!("address: 127.0.0.1:{port}\nbad: {{ version: \"!OpenSSH_*\" }}")).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with(&format!("127.0.0.1:{port} is OpenSSH_")), "{}", result.message);
    assert!(value(&result, "time").is_some_and(|time| time > 0.0));
    let result = run("ssh", &format!("address: 127.0.0.1:{port}\nwarning: {{ version: OpenSSH_* }}")).await;
    assert_eq!(result.state, State::Warning, "{}", result.message);
}
