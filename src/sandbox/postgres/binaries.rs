//! Where PostgreSQL's programs are: Debian keeps the servers' outside PATH.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::process::find_in_path;
use crate::sandbox::{Result, failure};

/// The folder with `postgres`, `initdb` and `pg_basebackup`, all of one version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Takes `OUTBOXD_PG_BIN` if it is set, else PATH, else the newest of Debian's, else what `pg_config` says.
    pub(super) fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os("OUTBOXD_PG_BIN") {
            let folder = PathBuf::from(folder);
            return complete(&folder).then_some(Self { folder: folder.clone() }).ok_or_else(|| {
                failure(format!("OUTBOXD_PG_BIN is {}, but initdb and postgres are not there.", folder.display()))
            });
        }
        let found = in_path().or_else(newest_of_debian).or_else(from_pg_config);
        found.map(|folder| Self { folder }).ok_or_else(|| {
            failure(
                "PostgreSQL's server programs were not found in PATH, in /usr/lib/postgresql/*/bin or through \
                 pg_config; install them (Debian: apt-get install postgresql) or name their folder in OUTBOXD_PG_BIN.",
            )
        })
    }

    /// A program of this version; one that is packed elsewhere (`psql`) is left to PATH.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        let path = self.folder.join(program);
        if path.is_file() { path } else { PathBuf::from(program) }
    }
}

fn in_path() -> Option<PathBuf> {
    // A link in PATH leads to the folder where the rest is.
    let file = fs::canonicalize(find_in_path("postgres")?).ok()?;
    file.parent().map(Path::to_path_buf).filter(|folder| complete(folder))
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    versions
        .map(|version| (version, PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))))
        .filter(|(_, folder)| complete(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    complete(&folder).then_some(folder)
}

fn complete(folder: &Path) -> bool {
    folder.join("postgres").is_file() && folder.join("initdb").is_file()
}
