//! Lists the SQL files of a database's schema, so that adding one needs no change to a list.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=sql");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let sql = Path::new(&root).join("sql");
    let mut text = String::new();
    for (name, folder) in
        [("MIGRATIONS", "migrations"), ("FUNCTIONS", "functions"), ("VIEWS", "views"), ("TRIGGERS", "triggers")]
    {
        list(&mut text, name, &sql, &names(&sql.join(folder))?, folder)?;
    }
    let grants = if sql.join("grants.sql").is_file() { vec!["grants.sql".to_owned()] } else { Vec::new() };
    list(&mut text, "GRANTS", &sql, &grants, "")?;
    fs::write(Path::new(&out).join("sql_files.rs"), text)
}

/// The SQL files of a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "sql")).collect();
    names.sort_unstable();
    Ok(names)
}

fn list(text: &mut String, constant: &str, sql: &Path, names: &[String], folder: &str) -> io::Result<()> {
    let mut entries = String::new();
    for name in names {
        let relative = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let path = sql.join(&relative);
        let path = path.to_str().ok_or_else(|| io::Error::other("the path of the sources is not UTF-8"))?;
        writeln!(entries, "    ({relative:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    writeln!(text, "pub(super) const {constant}: &[(&str, &str)] = &[\n{entries}];").map_err(io::Error::other)
}
