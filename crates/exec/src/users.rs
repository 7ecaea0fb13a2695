//! Users and their groups, from `/etc/passwd` and `/etc/group`.
//!
//! Only these two files are read: asking the name services of the host needs its C library's plug-ins and can take as long as a
//! directory server does. A user that `run_as` names has to be a local one.

use std::fs;
use std::io;

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

/// The user with this name.
pub(crate) fn by_name(name: &str) -> Result<User, String> {
    find("/etc/passwd", |login, _| login == name)?
        .ok_or_else(|| format!("there is no user `{name}` in /etc/passwd: correct `run_as`, or create the user"))
}

/// The home directory of a user; `/` if it is not known.
pub(crate) fn home_of(uid: u32) -> String {
    let user = find("/etc/passwd", |_, user| user.uid == uid).ok().flatten();
    user.map(|user| user.home).filter(|home| home.starts_with('/')).unwrap_or_else(|| "/".to_owned())
}

/// All groups that a user is in, its own first.
pub(crate) fn groups_of(name: &str, own: u32) -> Result<Vec<u32>, String> {
    let mut found = vec![own];
    found.extend(parse_groups(&read("/etc/group")?, name).into_iter().filter(|gid| *gid != own));
    Ok(found)
}

fn find(path: &str, wanted: impl Fn(&str, &User) -> bool) -> Result<Option<User>, String> {
    Ok(parse_users(&read(path)?).find(|(name, user)| wanted(name, user)).map(|(_, user)| user))
}

fn read(path: &str) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error: io::Error| format!("cannot read `{path}`: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines of `name:password:uid:gid:comment:home:shell`; others are skipped.
fn parse_users(text: &str) -> impl Iterator<Item = (&str, User)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        Some((name, User { uid, gid, home }))
    })
}

/// Lines of `name:password:gid:member,member`.
fn parse_groups(text: &str, member: &str) -> Vec<u32> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields.next()?.split(',').any(|name| name.trim() == member).then_some(gid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_passwd_are_read_and_odd_ones_skipped() {
        let text = "root:x:0:0:root:/root:/bin/sh\n+::::::\n:x:0:0:no name:/:\nshort:x:1\nmon:x:12:34:,,,:/var/lib/mon:/bin/false\n";
        let users: Vec<_> = parse_users(text).collect();
        assert_eq!(users.len(), 2);
        assert_eq!(users[1], ("mon", User { uid: 12, gid: 34, home: "/var/lib/mon".to_owned() }));
    }

    #[test]
    fn groups_are_those_that_list_the_user() {
        let text = "root:x:0:\nadm:x:4:syslog,mon\nmonitor:x:5:monx\nvideo:x:44:mon\nodd\n";
        assert_eq!(parse_groups(text, "mon"), [4, 44]);
    }
}
