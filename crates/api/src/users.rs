//! Users and groups, from `/etc/passwd` and `/etc/group`: neither a comment beside a hold nor a connection may hang on a directory service.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The name of a user, or `user 1000` if the file does not know it. Blocks for the reading of a small file.
pub(crate) fn name(uid: u32) -> String {
    std::fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| find(&passwd, uid).map(ToOwned::to_owned))
        .unwrap_or_else(|| format!("user {uid}"))
}

fn find(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The group whose members may operate.
///
/// The kernel says which user and which group a process at the other end runs as; whether the user is a member is looked up in
/// `/etc/group` at each connection, so who is removed from the group is denied at once, also with an old session. Members that only a directory
/// service knows enter with the group as their own: `sg GROUP -c 'monchero ..'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    gid: u32,
}

impl Operators {
    /// The group with this name, if `/etc/group` has it.
    pub fn named(group: &str) -> io::Result<Option<Self>> {
        let groups = std::fs::read_to_string("/etc/group")?;
        Ok(groups
            .lines()
            .filter_map(Group::read)
            .find(|found| found.name == group)
            .map(|found| Self { gid: found.gid }))
    }

    /// Lets the members enter a directory or connect to a socket, as far as its mode lets groups do that. What is theirs already is left
    /// alone: a sandbox may refuse to change any group.
    pub fn let_in(&self, path: &Path) -> io::Result<()> {
        if std::fs::metadata(path)?.gid() == self.gid {
            return Ok(());
        }
        std::os::unix::fs::chown(path, None, Some(self.gid))
    }

    /// Whether a process with these numbers may operate. Blocks for the reading of two small files.
    pub(crate) fn admit(&self, uid: u32, gid: u32) -> bool {
        if gid == self.gid {
            return true;
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        self.has_member(uid, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn has_member(&self, uid: u32, passwd: &str, groups: &str) -> bool {
        let Some(name) = find(passwd, uid) else { return false };
        let group = groups.lines().filter_map(Group::read).find(|group| group.gid == self.gid);
        group.is_some_and(|group| group.members.split(',').any(|member| member == name))
    }
}

/// A line of `/etc/group`: `name:password:gid:member,member`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some(Self { name, gid: fields.nth(1)?.parse().ok()?, members: fields.next()? })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::time::{Duration, Instant};

    use super::{Operators, find};

    #[test]
    fn members_operate_and_nobody_else() {
        let passwd = "root:x:0:0::/:/bin/sh\nmaria:x:1000:100::/:/bin/sh\nmari:x:1001:100::/:/bin/sh\n";
        let groups = "users:x:100:mari\nodd\nmonchero:x:990:jo,maria\nempty:x:991:\n";
        let operators = Operators { gid: 990 };
        assert!(operators.has_member(1000, passwd, groups));
        for stranger in [1001, 1002, 990] {
            assert!(!operators.has_member(stranger, passwd, groups), "{stranger}");
        }
        assert!(!Operators { gid: 991 }.has_member(1000, passwd, groups), "a group without members");
        assert!(!Operators { gid: 992 }.has_member(1000, passwd, groups), "a group that is gone");
        assert!(!operators.has_member(1000, passwd, ""), "nobody operates if the files cannot be read");
        assert!(operators.admit(4_000_000_000, 990), "the group as its own");
        assert_eq!(Operators::named("no such group").unwrap(), None);
        assert!(Operators::named("root").unwrap().is_some());
    }

    /// Any change of the group, also to the one that it has, would be a change of the file.
    #[test]
    fn what_is_theirs_already_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let changed = |path: &std::path::Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        std::fs::write(&path, "").unwrap();
        let before = changed(&path);
        let (clock, deadline) = (folder.path().join("clock"), Instant::now() + Duration::from_secs(5));
        while std::fs::write(&clock, "").is_ok() && changed(&clock) == before {
            assert!(Instant::now() < deadline, "the clock of the file system stands still");
        }
        let gid = std::fs::metadata(&path).unwrap().gid();
        Operators { gid }.let_in(&path).unwrap();
        assert_eq!(changed(&path), before);
        assert!(Operators { gid }.let_in(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn users_are_found_by_their_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nodd\nmaria:x:1000:100::/home/maria:/bin/sh\n";
        assert_eq!(find(passwd, 0), Some("root"));
        assert_eq!(find(passwd, 1000), Some("maria"));
        assert_eq!(find(passwd, 100), None);
    }
}
