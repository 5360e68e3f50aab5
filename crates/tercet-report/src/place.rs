//! Where a line is, as short as stays clear.

use tercet_model::{Line, Origin};

use crate::name;

/// What the paths of a report are shortened by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// The folder that all of the user's own files are in, with a slash at its end, or nothing.
    home: String,
}

impl Places {
    /// Finds what the paths of these lines have in common.
    pub(crate) fn of(lines: &[Line]) -> Self {
        let own = lines.iter().filter(|line| line.origin == Origin::Own);
        let mut folders = own.filter(|line| line.file.starts_with('/')).map(|line| folder(&line.file));
        let Some(first) = folders.next() else { return Self::default() };
        let home = folders.fold(first, common_folder);
        Self { home: if home.len() > 1 { home.to_owned() } else { String::new() } }
    }

    /// The folder that own paths are shown relative to, made visible; `None` when there is none.
    pub(crate) fn home(&self) -> Option<String> {
        (!self.home.is_empty()).then(|| name::visible(&self.home))
    }

    /// The path of a line's file, made visible, without what goes without saying.
    pub(crate) fn file(&self, line: &Line) -> String {
        let path = line.file.as_str();
        let shorter = match line.origin {
            Origin::Own => path.strip_prefix(self.home.as_str()),
            Origin::SitePackages => after(path, "/site-packages/").or_else(|| after(path, "/dist-packages/")),
            Origin::StandardLibrary => after_library(path),
        };
        name::visible(shorter.filter(|rest| !rest.is_empty()).unwrap_or(path))
    }
}

/// The line's number as it follows a path; nothing when it is not known.
pub(crate) fn number(line: &Line) -> String {
    if line.line == 0 { String::new() } else { format!(":{}", line.line) }
}

/// `path:12 function` in at most `room` columns. Where that is too little, the function keeps half
/// of it and loses its middle, the path loses its start.
pub(crate) fn fitted(path: &str, number: &str, function: &str, room: usize, gap: &str) -> String {
    let function = if function.is_empty() { String::new() } else { format!(" {function}") };
    let beside_path = room.saturating_sub(name::width(path) + name::width(number));
    let function = name::shorten_middle(&function, beside_path.max(room / 2), gap);
    let rest = room.saturating_sub(name::width(number) + name::width(&function));
    let path = shorten_path(path, rest, gap);
    name::head(&format!("{path}{number}{function}"), room).to_owned()
}

/// A path that loses whole folders from its start where that suffices.
fn shorten_path(path: &str, room: usize, gap: &str) -> String {
    if name::width(path) <= room {
        return path.to_owned();
    }
    let kept = name::tail(path, room.saturating_sub(name::width(gap)));
    match kept.find('/') {
        Some(index) if index + 1 < kept.len() => format!("{gap}{}", &kept[index..]),
        _ => name::shorten_left(path, room, gap),
    }
}

/// The folder of a file, with a slash at its end.
fn folder(path: &str) -> &str {
    &path[..=path.rfind('/').unwrap_or(0)]
}

/// The innermost folder that holds both folders.
fn common_folder<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    one.as_bytes()[..same].iter().rposition(|&byte| byte == b'/').map_or("", |end| &one[..=end])
}

fn after<'a>(path: &'a str, mark: &str) -> Option<&'a str> {
    path.rfind(mark).map(|start| &path[start + mark.len()..])
}

/// What follows `/python3.12/`.
fn after_library(path: &str) -> Option<&str> {
    const MARK: &str = "/python3.";
    let rest = after(path, MARK)?;
    rest.split_once('/').map(|(_, file)| file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tercet_model::Wait;

    fn line(file: &str, origin: Origin) -> Line {
        Line {
            file: file.into(),
            line: 3,
            function: "f".into(),
            kind: Wait::Network,
            share: 0.1,
            origin,
            in_loop: false,
            count: 1,
            target: String::new(),
        }
    }

    #[test]
    fn own_files_are_named_from_the_folder_they_share() {
        let lines = [line("/home/u/shop/app.py", Origin::Own), line("/home/u/shop/lib/net.py", Origin::Own)];
        let places = Places::of(&lines);
        assert_eq!(places.home().as_deref(), Some("/home/u/shop/"));
        assert_eq!(places.file(&lines[1]), "lib/net.py");
    }

    #[test]
    fn installed_and_standard_files_are_named_as_they_are_imported() {
        let places = Places::default();
        let installed = line("/v/lib/python3.12/site-packages/requests/api.py", Origin::SitePackages);
        assert_eq!(places.file(&installed), "requests/api.py");
        let standard = line("/usr/lib/python3.12/ssl.py", Origin::StandardLibrary);
        assert_eq!(places.file(&standard), "ssl.py");
        let frozen = line("<frozen importlib._bootstrap>", Origin::StandardLibrary);
        assert_eq!(places.file(&frozen), "<frozen importlib._bootstrap>");
    }

    #[test]
    fn unrelated_and_relative_files_keep_their_paths() {
        let lines = [line("/a/x.py", Origin::Own), line("/b/y.py", Origin::Own)];
        assert_eq!(Places::of(&lines).home(), None);
        let relative = [line("app.py", Origin::Own), line("é.py", Origin::Own)];
        assert_eq!(Places::of(&relative).file(&relative[1]), "é.py");
    }

    #[test]
    fn folders_with_a_common_half_of_a_character_do_not_split_it() {
        let lines = [line("/ä/é/x.py", Origin::Own), line("/ä/è/y.py", Origin::Own)];
        assert_eq!(Places::of(&lines).home().as_deref(), Some("/ä/"));
    }

    #[test]
    fn a_long_path_loses_whole_folders_first() {
        let fit = |room| fitted("a/long/way/to/file.py", ":12", "fetch", room, "…");
        assert_eq!(fit(40), "a/long/way/to/file.py:12 fetch");
        assert_eq!(fit(26), "…/way/to/file.py:12 fetch");
        assert_eq!(fit(14), "…e.py:12 fetch");
        assert_eq!(fitted("x.py", "", "", 10, "…"), "x.py");
    }
}
