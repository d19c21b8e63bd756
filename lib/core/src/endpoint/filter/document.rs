//! An event as filters see it: a tree, in which each look-up is quick.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::event::Event;
use crate::input::json::text_in;
use crate::input::scanner::Scanner;

/// How deep filters look into an event: far deeper than a filter can name fields. Values further inside count as absent.
const MAX_LEVELS: usize = 64;

/// A value of an event.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// `true` or `false`.
    Flag(bool),
    /// A list. Filters see its items as values of the field.
    List(Vec<Self>),
    /// `null`.
    Null,
    /// A number, as it is spelled.
    Number(&'a str),
    /// An object. Its members are sorted by name, and each name is there once.
    Object(Vec<(Cow<'a, str>, Self)>),
    /// A text.
    Text(Cow<'a, str>),
    /// A text that is not valid Unicode. It is present, but has no value that a filter could name.
    Unreadable,
}

/// An event whose tree is made when the first filter needs it.
#[derive(Debug)]
pub struct Document<'a> {
    event: &'a Event,
    root: OnceCell<Node<'a>>,
}

impl<'a> Document<'a> {
    /// Creates the document of an event.
    #[must_use]
    pub fn of(event: &'a Event) -> Self {
        Self { event, root: OnceCell::new() }
    }

    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// Returns the attributes that filters see: `data`, `source`, `subject` and `type`.
    pub(super) fn root(&self) -> &Node<'a> {
        self.root.get_or_init(|| {
            let text = |text: &'a str| Node::Text(Cow::Borrowed(text));
            let Event { key, kind, subject, .. } = self.event;
            let mut members = vec![("data", data(self.event.data())), ("source", text(&key.source))];
            members.extend(subject.as_deref().map(|subject| ("subject", text(subject))));
            members.push(("type", text(kind)));
            Node::Object(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
        })
    }
}

impl Node<'_> {
    /// Returns the member `name` of an object.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let at = members.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&members[at].1)
    }
}

/// Reads a payload, which is valid JSON.
fn data(json: &str) -> Node<'_> {
    read(&mut Scanner::new(json), MAX_LEVELS).unwrap_or(Node::Unreadable)
}

fn read<'a>(scanner: &mut Scanner<'a>, levels: usize) -> Option<Node<'a>> {
    match scanner.peek()? {
        b'{' | b'[' if levels == 0 => scanner.value().map(|()| Node::List(Vec::new())), // No value, as if absent.
        b'{' => {
            let mut members = Vec::new();
            scanner.object(|scanner, name| {
                let (name, value) = (name.text(), read(scanner, levels - 1)?);
                members.extend(name.map(|name| (name, value)));
                Some(())
            })?;
            // If a name occurs twice, the last value counts, as for most receivers.
            members.reverse();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.dedup_by(|(one, _), (other, _)| one == other);
            Some(Node::Object(members))
        }
        b'[' => {
            let mut items = Vec::new();
            scanner.list(|scanner| {
                items.push(read(scanner, levels - 1)?);
                Some(())
            })?;
            Some(Node::List(items))
        }
        b'"' => Some(text_in(scanner.spelled()?).map_or(Node::Unreadable, Node::Text)),
        b'-' | b'0'..=b'9' => scanner.spelled().map(Node::Number),
        b'n' => scanner.spelled().map(|_| Node::Null),
        first => scanner.spelled().map(|_| Node::Flag(first == b't')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event::parse(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"invoice","tenant":"acme","data":{data}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let event = event(r#"{"b":1,"a":{"x":1,"x":[true]},"b":2.50}"#);
        let document = Document::of(&event);
        let data = document.root().member("data").unwrap();
        assert!(matches!(data.member("b"), Some(Node::Number("2.50"))));
        let x = data.member("a").and_then(|a| a.member("x"));
        assert!(matches!(x, Some(Node::List(items)) if matches!(&**items, [Node::Flag(true)])));
        assert!(data.member("c").is_none());
    }

    #[test]
    fn no_depth_is_too_deep_to_read() {
        for depth in [63, 64, 65, 50_000] {
            let event = event(&format!(r#"{{"a":{}7{}}}"#, "[".repeat(depth), "]".repeat(depth)));
            let document = Document::of(&event);
            let mut node = document.root().member("data").and_then(|data| data.member("a")).unwrap();
            while let Node::List(items) = node
                && let Some(first) = items.first()
            {
                node = first;
            }
            assert_eq!(matches!(node, Node::Number("7")), depth <= 63, "{depth}");
        }
    }

    #[test]
    fn texts_that_are_not_unicode_are_present_without_a_value() {
        let event = event(r#"{"a":["\ud800"],"b":{"\ud800":1,"c":"\u00e4"}}"#);
        let document = Document::of(&event);
        let data = document.root().member("data").unwrap();
        assert!(matches!(data.member("a"), Some(Node::List(items)) if matches!(&**items, [Node::Unreadable])));
        assert!(matches!(data.member("b").and_then(|b| b.member("c")), Some(Node::Text(text)) if text == "ä"));
    }
}
