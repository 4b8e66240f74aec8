//! Names of datasets on the hub, and which of their files hold the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::RepoId;
use super::files::is_plain;
use crate::error::{Error, Result};

/// Names that stand for longer ones. They are those that people know these texts by.
const SHORT: [(&str, &str); 2] =
    [("pile-10k", "NeelNanda/pile-10k"), ("wikitext-2", "Salesforce/wikitext:wikitext-2-raw-v1")];
/// Datasets whose rows are lines of one text.
const LINES: [&str; 2] = ["Salesforce/wikitext", "wikitext"];
/// Endings of files that hold texts, those that are read first first.
const ENDINGS: [&str; 4] = [".parquet", ".jsonl", ".json", ".txt"];
/// Files that hold something else.
const NO_TEXTS: [&str; 4] = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
/// More than calibration or an evaluation is ever made on, and a download of some minutes.
const MAX_BYTES: u64 = 256 << 20;
/// Files that an error names.
const NAMED: usize = 6;

/// A dataset on the hub: `OWNER/NAME`, then `:FOLDER` where the dataset has several texts in folders of their own, then
/// `@REVISION`. Also `pile-10k`, which is `NeelNanda/pile-10k`, and `wikitext-2`, which is
/// `Salesforce/wikitext:wikitext-2-raw-v1`.
///
/// ```
/// use bitsmith::hub::DatasetId;
/// let id: DatasetId = "wikitext-2@refs/pr/1".parse()?;
/// assert_eq!(id.to_string(), "Salesforce/wikitext:wikitext-2-raw-v1@refs/pr/1");
/// assert!(id.rows_are_lines());
/// assert!("pile".parse::<DatasetId>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetId {
    repository: RepoId,
    folder: Option<String>,
}

impl DatasetId {
    /// The repository and its revision.
    pub fn repository(&self) -> &RepoId {
        &self.repository
    }

    /// The folder in it.
    pub fn folder(&self) -> Option<&str> {
        self.folder.as_deref()
    }

    /// Whether the rows are lines of one text, as those of wikitext.
    pub fn rows_are_lines(&self) -> bool {
        LINES.contains(&self.repository.path().as_str())
    }
}

impl FromStr for DatasetId {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] for what is no name of a dataset.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: String| Err(Error::config("dataset", format!("`{text}` is no name of a dataset: {why}")));
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let path = SHORT.iter().find(|(short, _)| *short == path).map_or(path, |(_, long)| long);
        let (repository, folder) = match path.split_once(':') {
            Some((repository, folder)) => (repository, Some(folder)),
            None => (path, None),
        };
        if folder.is_some_and(|folder| !is_plain(folder)) {
            return refuse("what follows `:` is a folder of the dataset".to_owned());
        }
        if !repository.contains('/') {
            let short = SHORT.map(|(short, _)| short).join(", ");
            return refuse(format!("it has the form OWNER/NAME; short names are {short}"));
        }
        let full = revision.map_or(repository.to_owned(), |revision| format!("{repository}@{revision}"));
        Ok(Self { repository: RepoId::parse("dataset", &full)?, folder: folder.map(str::to_owned) })
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository.path())?;
        self.folder.iter().try_for_each(|folder| write!(f, ":{folder}"))?;
        if self.repository.has_revision() { write!(f, "@{}", self.repository.revision()) } else { Ok(()) }
    }
}

/// What a part of a dataset is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings by.
    Validation,
    /// To measure on.
    Test,
}

impl Split {
    const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Words in names of files and folders, as the hub reads them.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Validation => &["validation", "valid", "val", "dev"],
            Self::Test => &["test", "testing", "eval", "evaluation"],
        }
    }

    /// The split that the name of a file tells of, or else that of the folder nearest to it.
    fn of(path: &str) -> Option<Self> {
        path.rsplit('/').find_map(|part| {
            let has =
                |word: &&str| part.split(|c: char| !c.is_ascii_alphabetic()).any(|own| own.eq_ignore_ascii_case(word));
            Self::ALL.into_iter().find(|split| split.words().iter().any(has))
        })
    }

    /// What does in its place, itself first.
    fn or_else(self) -> &'static [Self] {
        match self {
            Self::Train => &[Self::Train],
            Self::Validation => &[Self::Validation, Self::Test],
            Self::Test => &[Self::Test, Self::Validation],
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words()[0])
    }
}

/// Of the files of a repository, with their sizes: those with the texts of a split, by name. Otherwise why there are none.
pub(super) fn choose(
    id: &DatasetId,
    wanted: Split,
    files: &[(String, u64)],
) -> std::result::Result<Vec<String>, String> {
    let prefix = id.folder().map(|folder| format!("{folder}/")).unwrap_or_default();
    let own = || files.iter().filter(|(path, _)| path.starts_with(&prefix) && holds_texts(path));
    let Some(ending) = ENDINGS.into_iter().find(|ending| own().any(|(path, _)| path.ends_with(ending))) else {
        let at = id.folder().map(|folder| format!(" in {folder}")).unwrap_or_default();
        return Err(format!("there is no text in parquet, JSON lines or plain text{at}; there is {}", some(files)));
    };
    let mut found: Vec<&(String, u64)> = own().filter(|(path, _)| path.ends_with(ending)).collect();
    found.sort();
    // Texts of their own have folders of their own; splits may have, too.
    let homes: BTreeSet<&str> = found.iter().map(|(path, _)| home(&path[prefix.len()..])).collect();
    if homes.len() > 1 {
        let homes = homes.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        return Err(format!("it has texts in several folders: {homes}"));
    }
    let mut splits: BTreeMap<Option<Split>, Vec<&(String, u64)>> = BTreeMap::new();
    for file in &found {
        splits.entry(Split::of(&file.0[prefix.len()..])).or_default().push(file);
    }
    // Without any word the hub takes all files for the split to train on.
    let named: Vec<Split> = splits.keys().copied().flatten().collect();
    let split = match &named[..] {
        [] => None,
        [only] => Some(*only),
        _ => Some(wanted.or_else().iter().copied().find(|split| named.contains(split)).ok_or_else(|| {
            let named = named.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("it has no split {wanted}, only {named}; there is {}", some(files))
        })?),
    };
    if split.unwrap_or(Split::Train) != wanted {
        let split = split.unwrap_or(Split::Train);
        tracing::warn!("{id} has no split {wanted}; its split {split} is used");
    }
    let of_split = splits.remove(&split).unwrap_or_default();
    let (mut bytes, all) = (0u64, of_split.len());
    let fit = |(index, file): &(usize, &(String, u64))| {
        bytes = bytes.saturating_add(file.1);
        *index == 0 || bytes <= MAX_BYTES
    };
    let chosen: Vec<String> =
        of_split.into_iter().enumerate().take_while(fit).map(|(_, file)| file.0.clone()).collect();
    if chosen.len() < all {
        tracing::info!("of the {all} files of {id}, the first {} are used", chosen.len());
    }
    Ok(chosen)
}

/// Whether a file of a dataset may hold texts, by its name.
fn holds_texts(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let upper = name.to_ascii_uppercase();
    is_plain(path)
        && !path.split('/').any(|part| part.starts_with('.'))
        && !NO_TEXTS.contains(&name)
        && !["README", "LICENSE", "NOTICE", "REQUIREMENTS"].iter().any(|word| upper.starts_with(word))
        && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The folder of a file, without the one that tells of the split.
fn home(path: &str) -> &str {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    if Split::of(last).is_some() { above } else { folder }
}

/// Some of the files, for a message.
fn some(files: &[(String, u64)]) -> String {
    if files.is_empty() {
        return "no file at all".to_owned();
    }
    let mut names = files.iter().take(NAMED).map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(", ");
    if files.len() > NAMED {
        names += &format!(", … ({} files)", files.len());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(id: &str, split: Split, files: &[&str]) -> std::result::Result<Vec<String>, String> {
        let files: Vec<(String, u64)> = files.iter().map(|file| ((*file).to_owned(), 100)).collect();
        choose(&id.parse().expect("a name"), split, &files)
    }

    #[test]
    fn names_are_read_and_told_again() {
        for text in ["o/n", "o/n:folder", "o/n:a/b@refs/convert/parquet", "o/n@main"] {
            assert_eq!(text.parse::<DatasetId>().expect(text).to_string(), text);
        }
        assert_eq!("pile-10k".parse::<DatasetId>().expect("short").to_string(), "NeelNanda/pile-10k");
        for text in ["", "pile", "a:b", "o/n:", "o/n:../x", "o/n:/x", "a/b/c", "o/n@", "o/n@a..b", "o/n:a:b"] {
            let error = text.parse::<DatasetId>().expect_err(text).to_string();
            assert!(error.contains("is no name of a dataset"), "{error}");
        }
    }

    #[test]
    fn the_split_is_chosen_by_name() {
        let pile =
            ["README.md", ".gitattributes", "data/train-00000-of-00001-4746b8785c874cc7.parquet", "dataset_infos.json"];
        for split in [Split::Train, Split::Test] {
            assert_eq!(chosen("o/n", split, &pile).expect("one split"), [pile[2]]);
        }
        let wiki = [
            "wikitext-103-v1/test-00000-of-00001.parquet",
            "wikitext-2-raw-v1/test-00000-of-00001.parquet",
            "wikitext-2-raw-v1/train-00000-of-00001.parquet",
            "wikitext-2-raw-v1/validation-00000-of-00001.parquet",
        ];
        assert_eq!(chosen("wikitext-2", Split::Test, &wiki).expect("it is there"), wiki[1..2]);
        assert_eq!(chosen("wikitext-2", Split::Train, &wiki).expect("it is there"), wiki[2..3]);
        let several = chosen("o/n", Split::Test, &wiki).expect_err("two texts");
        assert!(several.contains("wikitext-103-v1, wikitext-2-raw-v1"), "{several}");
        let converted =
            ["default/partial-train/0000.parquet", "default/test/0000.parquet", "default/test/0001.parquet"];
        assert_eq!(chosen("o/n", Split::Test, &converted).expect("it is there"), converted[1..]);
        assert_eq!(
            chosen("o/n", Split::Train, &["a.txt", "b.jsonl", "val.jsonl"]).expect("the only split"),
            ["val.jsonl"]
        );
        assert_eq!(chosen("o/n", Split::Test, &["b.txt", "a.txt"]).expect("no split"), ["a.txt", "b.txt"]);
        assert_eq!(chosen("o/n", Split::Test, &["dev.txt", "train.txt"]).expect("not to train on"), ["dev.txt"]);
    }

    #[test]
    fn what_does_not_fit_is_listed() {
        let error = chosen("o/n", Split::Train, &["c4.json.gz", "LICENSE.txt"]).expect_err("no text");
        assert!(error.contains("no text in parquet") && error.contains("c4.json.gz"), "{error}");
        let error = chosen("o/n:raw", Split::Train, &["a.txt"]).expect_err("no such folder");
        assert!(error.contains("in raw") && error.contains("a.txt"), "{error}");
        let error = chosen("o/n", Split::Train, &["test.txt", "dev.txt"]).expect_err("nothing to learn from");
        assert!(error.contains("no split train, only validation, test"), "{error}");
        assert!(chosen("o/n", Split::Train, &[]).expect_err("nothing").contains("no file at all"));
    }

    #[test]
    fn large_splits_are_used_in_part() {
        let files: Vec<(String, u64)> = (0..5).map(|i| (format!("train-{i}.parquet"), MAX_BYTES / 2)).collect();
        let choose =
            |files: &[(String, u64)]| choose(&"o/n".parse().expect("a name"), Split::Train, files).expect("a split");
        assert_eq!(choose(&files).len(), 2);
        assert_eq!(choose(&[("a.txt".to_owned(), u64::MAX), ("b.txt".to_owned(), 1)]), ["a.txt"]);
    }
}
