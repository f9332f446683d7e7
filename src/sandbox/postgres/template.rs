//! A fresh data folder, made by `initdb` once and copied afterwards.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Postgres, PostgresOptions, SETTINGS_FILE, SUPERUSER};
use crate::sandbox::{Process, Result, failure};

/// Fills the cluster's data folder, from the template if one is named.
pub(super) fn fill(postgres: &Postgres, options: &PostgresOptions) -> Result<()> {
    match &options.template {
        None => initdb(postgres, options.password.as_deref()),
        Some(_) if options.password.is_some() => {
            Err(failure("A template cluster has no password: set either `template` or `password`, not both."))
        }
        Some(folder) => {
            let template = folder.join(format!("postgres-{}", build(postgres)?));
            if !template.exists() {
                initdb(postgres, None)?;
                return publish(postgres, &template);
            }
            copy(&template, &postgres.data)?;
            postgres.user.map_or(Ok(()), |user| user.own(&postgres.data))
        }
    }
}

/// Copies a whole folder, links and rights included.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(failure(format!("{} cannot be copied to {}.", from.display(), to.display())))
}

/// Copies under a name of its own, then renames: who looks sees all of it or nothing. Losing a race is no failure.
pub(super) fn publish(postgres: &Postgres, template: &Path) -> Result<()> {
    let failed = |e| failure(format!("The template cluster {} cannot be kept: {e}.", template.display()));
    fs::create_dir_all(template.parent().unwrap_or(template)).map_err(failed)?;
    let draft = template.with_extension(format!("{}", postgres.port()));
    copy(&postgres.data, &draft)?;
    if let Err(e) = fs::rename(&draft, template) {
        fs::remove_dir_all(&draft).map_err(failed)?;
        if !template.exists() {
            return Err(failed(e));
        }
    }
    Ok(())
}

fn initdb(postgres: &Postgres, password: Option<&str>) -> Result<()> {
    let mut spec = postgres.spec("initdb").args(["--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]);
    spec = spec.args(["-U", SUPERUSER, "-D"]).args([&postgres.data]);
    let secret = postgres.data.with_extension("password");
    spec = match password {
        None => spec.args(["--auth=trust"]),
        Some(password) => {
            let written = fs::write(&secret, password);
            written.map_err(|e| failure(format!("{} cannot be written: {e}.", secret.display())))?;
            postgres.user.map_or(Ok(()), |user| user.own(&secret))?;
            spec.args(["--auth=scram-sha-256", "--pwfile"]).args([&secret])
        }
    };
    let made = Process::run(&spec, Duration::from_secs(60));
    let _ = fs::remove_file(&secret);
    made?;
    let path = postgres.data.join("postgresql.conf");
    let mut file = fs::OpenOptions::new().append(true).open(&path);
    let added = file
        .as_mut()
        .map_err(|e| e.to_string())
        .and_then(|file| writeln!(file, "include '{SETTINGS_FILE}'").map_err(|e| e.to_string()));
    added.map_err(|e| failure(format!("{} cannot be extended: {e}.", path.display())))
}

/// Which build of PostgreSQL: release and place. The major version decides the format of a data folder, and two builds of one
/// version may differ in what `initdb` writes into it.
fn build(postgres: &Postgres) -> Result<String> {
    let program = postgres.binaries.path("postgres");
    let output = Command::new(&program).arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    if digits.is_empty() {
        return Err(failure("postgres --version says no version."));
    }
    let mut hasher = DefaultHasher::new();
    (text, program).hash(&mut hasher);
    Ok(format!("{digits}-{:016x}", hasher.finish()))
}
