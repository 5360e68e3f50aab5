//! Just enough of a reader of HTML to see that a page is well formed.

#![allow(dead_code, unreachable_pub, reason = "a test has this module as its own")]

/// The attributes that a page may have.
pub const ATTRIBUTES: &[&str] = &[
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "charset",
    "class",
    "content",
    "cx",
    "cy",
    "d",
    "focusable",
    "height",
    "href",
    "http-equiv",
    "id",
    "lang",
    "name",
    "open",
    "preserveAspectRatio",
    "r",
    "rel",
    "role",
    "scope",
    "style",
    "tabindex",
    "title",
    "viewBox",
    "width",
];

/// Elements that have no end.
const VOID: [&str; 2] = ["meta", "link"];

/// A piece of a page.
#[derive(Debug, PartialEq)]
enum Token {
    Start { name: String, attributes: Vec<(String, String)>, is_closed: bool },
    End(String),
    Text(String),
}

/// A page in pieces.
pub struct Page(Vec<Token>);

impl Page {
    /// Takes a page apart.
    ///
    /// # Panics
    /// When a tag does not end or an attribute has no quotes.
    pub fn of(html: &str) -> Self {
        let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
        let mut tokens = Vec::new();
        while let Some(start) = rest.find('<') {
            tokens.push(Token::Text(rest[..start].to_owned()));
            let is_style = rest[start..].starts_with("<style>");
            let (token, after) = tag(&rest[start..]);
            tokens.push(token);
            rest = after;
            if is_style {
                let end = rest.find("</style>").expect("the end of the style");
                tokens.push(Token::Text(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        tokens.push(Token::Text(rest.to_owned()));
        Self(tokens)
    }

    /// How many elements of a name there are.
    pub fn count(&self, wanted: &str) -> usize {
        let is_wanted = |token: &&Token| matches!(token, Token::Start { name, .. } if name == wanted);
        self.0.iter().filter(is_wanted).count()
    }

    /// All attributes of all elements.
    pub fn attributes(&self) -> Vec<&(String, String)> {
        let starts = self.0.iter().filter_map(|token| match token {
            Token::Start { attributes, .. } => Some(attributes),
            _ => None,
        });
        starts.flatten().collect()
    }

    /// The text of the style element.
    pub fn style(&self) -> &str {
        let start = self.0.iter().position(|token| matches!(token, Token::Start { name, .. } if name == "style"));
        match start.map(|start| &self.0[start + 1]) {
            Some(Token::Text(style)) => style,
            _ => "",
        }
    }

    /// All text, as a reader sees it.
    pub fn text(&self) -> String {
        let texts = self.0.iter().filter_map(|token| match token {
            Token::Text(text) => Some(unescape(text)),
            _ => None,
        });
        texts.collect()
    }
}

/// Checks that every element ends where it must.
///
/// # Panics
/// When one does not.
#[track_caller]
pub fn assert_well_formed(html: &str) {
    let mut open: Vec<String> = Vec::new();
    for token in Page::of(html).0 {
        match token {
            Token::Start { name, is_closed, .. } if is_closed || VOID.contains(&name.as_str()) => {}
            Token::Start { name, .. } => open.push(name),
            Token::End(name) => assert_eq!(open.pop().as_ref(), Some(&name), "open: {open:?}"),
            Token::Text(_) => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The tag that a text begins with, and what follows it.
fn tag(text: &str) -> (Token, &str) {
    let is_end = text.starts_with("</");
    let start = if is_end { 2 } else { 1 };
    let is_name = |character: char| character.is_ascii_alphanumeric();
    let length = text[start..].find(|character| !is_name(character)).expect("the end of a tag's name");
    assert!(length > 0, "a bare `<` before {:?}", &text[..text.len().min(40)]);
    let name = text[start..start + length].to_owned();
    let (attributes, is_closed, rest) = attributes(&text[start + length..]);
    if is_end { (Token::End(name), rest) } else { (Token::Start { name, attributes, is_closed }, rest) }
}

/// The attributes up to the end of a tag, whether the tag closes itself, and what follows.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, bool, &str) {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("/>") {
            return (attributes, true, after);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (attributes, false, after);
        }
        let end = rest.find(['=', '>', ' ', '/']).expect("the end of an attribute's name");
        let name = rest[..end].to_owned();
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'), "{name:?}");
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').expect("the end of an attribute's value");
            value = unescape(&quoted[..end]);
            rest = &quoted[end + 1..];
        }
        attributes.push((name, value));
    }
}

fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    plain.replace("&#x27;", "'").replace("&#x2f;", "/").replace("&amp;", "&")
}
