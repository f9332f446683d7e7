//! The user under which servers run that refuse to run as root.

use std::fs;
use std::path::Path;

use super::{Result, failure};

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// `None` for an ordinary user, who runs everything as himself; for root the user `postgres`, else `nobody`.
    pub(super) fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(|e| failure(format!("/etc/passwd cannot be read: {e}; run this as an ordinary user instead.")))?;
        ["postgres", "nobody"].iter().find_map(|name| look_up(&passwd, name)).map(Some).ok_or_else(|| {
            failure(
                "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody to run it \
                 as; run this as an ordinary user.",
            )
        })
    }

    /// Gives a folder and all that is in it to this user.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        let failed = |e| failure(format!("{} cannot be given to user {}: {e}.", path.display(), self.uid));
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).map_err(failed)?;
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).map_err(failed)? {
                self.own(&entry.map_err(failed)?.path())?;
            }
        }
        Ok(())
    }
}

fn look_up(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{User, look_up};

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(look_up(passwd, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(look_up(passwd, "nobody"), None);
    }
}
