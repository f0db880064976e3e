//! How many elements a drawing comes to once everything that refers to something else is spelled out.
//!
//! The renderer copies what `use` names, and works through patterns, masks, clips, filters and markers once for each shape that has them: a
//! few hundred bytes can so become any amount of work. Counted here on paper, in time proportional to the text.

use std::collections::{HashMap, HashSet};

use resvg::usvg::roxmltree::{Document, Node, NodeId};

use super::{Flaw, sheet::Cost};
use crate::pipeline::markup::Markup;

/// Most elements, spelled out.
const ELEMENTS_MAX: u64 = 100_000;

/// Most elements within each other, spelled out. The renderer recurses.
pub(super) const DEPTH_MAX: u32 = 150;

/// Most elements that others may refer to for paint, clip, mask or filter: the renderer compares each with each.
const SERVERS_MAX: u64 = 2_000;

/// Most comparisons of a style rule with an element and those around it.
const RULES_MAX: u64 = 20_000_000;

/// Most declarations once each selector has its own.
const DECLARATIONS_MAX: u64 = 500_000;

/// Bytes of an attribute that take as long to look through as an element does to compare.
const BYTES_PER_COMPARISON: u64 = 16;

/// Bytes of a declaration in the renderer's tables, whose buffers may be half empty.
const DECLARATION_BYTES: u64 = 100;

/// Most bytes of text that is to be laid out.
const LETTERS_MAX: u64 = 64 << 10;

/// What a drawing comes to.
pub(super) struct Total {
    /// Elements, spelled out.
    pub(super) elements: u64,
    /// Bytes of its style sheets as rules.
    pub(super) style_bytes: u64,
}

/// A letter becomes an outline of its own, some 12 KiB of edges while it is painted: as much as so many elements.
const LETTER_ELEMENTS: u64 = 11;

/// Counts the elements, or says which limit they break.
pub(super) fn take(document: &Document<'_>, markup: &Markup) -> Result<Total, Flaw> {
    let mut census = Census { ids: HashMap::new(), counted: HashMap::new(), styled: Vec::new(), longest: 2 };
    let (mut servers, mut letters, mut elements, mut classes) = (0, 0, 0, 0);
    let (mut style, mut named) = (Cost::default(), HashSet::new());
    for node in document.descendants().filter(Node::is_element) {
        elements += 1;
        census.longest = census.longest.max(outline_vertices(node));
        classes += node.attribute("class").map_or(0, str::len) as u64;
        if let Some(id) = node.attribute("id") {
            census.ids.entry(id).or_insert(node);
            classes += id.len() as u64;
        }
        match node.tag_name().name() {
            "style" => {
                let text = node.text().unwrap_or("");
                style.add(text, markup.depth)?;
                named.extend(references(text));
            }
            // A text within a text is part of it.
            "text" if !node.ancestors().skip(1).any(|outer| outer.tag_name().name() == "text") => {
                letters += node.descendants().filter_map(|inner| inner.text()).map(str::len).sum::<usize>();
            }
            "pattern" | "clipPath" | "mask" | "filter" | "linearGradient" | "radialGradient" | "marker" => {
                servers += 1;
            }
            _ => {}
        }
    }
    if style.attributes {
        classes = document.input_text().len() as u64;
    }
    let compared = elements + classes / BYTES_PER_COMPARISON;
    for (count, most, what) in [
        (servers, SERVERS_MAX, "gradients, patterns, masks and the like"),
        (style.comparisons.saturating_mul(compared), RULES_MAX, "comparisons of style rule and element"),
        (style.declarations, DECLARATIONS_MAX, "declarations in its style sheets"),
        (letters as u64, LETTERS_MAX, "bytes of text"),
    ] {
        if count > most {
            return Err(Flaw::Unsupported(format!("this drawing has {count} {what}; the limit is {most}")));
        }
    }
    // A style sheet may give any element what it names. Gradients cost nothing there.
    let named = named.into_iter().filter_map(|id| census.ids.get(id).copied());
    census.styled = named.filter(|target| !is_gradient(*target)).collect();
    let tally = census.count(document.root_element(), 0)?;
    Ok(Total { elements: tally.elements, style_bytes: style.declarations * DECLARATION_BYTES })
}

/// What an element comes to.
#[derive(Clone, Copy)]
struct Tally {
    elements: u64,
    height: u32,
}

impl Tally {
    /// Refuses too many elements, as soon as they are.
    fn check(&self) -> Result<(), Flaw> {
        if self.elements > ELEMENTS_MAX {
            return Err(Flaw::Unsupported(format!(
                "this drawing comes to over {ELEMENTS_MAX} elements once everything is spelled out"
            )));
        }
        Ok(())
    }
}

struct Census<'a, 'input> {
    ids: HashMap<&'a str, Node<'a, 'input>>,
    /// What has been counted; `None` while it is being counted.
    counted: HashMap<NodeId, Option<Tally>>,
    /// What style sheets refer to, each once.
    styled: Vec<Node<'a, 'input>>,
    /// Most vertices of any outline.
    longest: u64,
}

impl<'a, 'input> Census<'a, 'input> {
    fn count(&mut self, node: Node<'a, 'input>, depth: u32) -> Result<Tally, Flaw> {
        if depth > DEPTH_MAX {
            return Err(Flaw::Unsupported(format!("this drawing is nested more than {DEPTH_MAX} deep")));
        }
        match self.counted.insert(node.id(), None) {
            Some(Some(tally)) => {
                self.counted.insert(node.id(), Some(tally));
                return if depth + tally.height > DEPTH_MAX { self.too_deep() } else { Ok(tally) };
            }
            Some(None) => {
                return Err(Flaw::Unsupported("a part of this drawing refers to itself".to_owned()));
            }
            None => {}
        }
        let letters = if is_written(node) { letters(node) } else { 0 };
        let mut tally = Tally { elements: 1 + letters * LETTER_ELEMENTS, height: 1 };
        for child in node.children().filter(Node::is_element) {
            let inner = self.count(child, depth + 1)?;
            tally.elements += inner.elements;
            tally.height = tally.height.max(inner.height + 1);
            tally.check()?;
        }
        self.count_references(node, depth, &mut tally)?;
        self.counted.insert(node.id(), Some(tally));
        Ok(tally)
    }

    fn too_deep(&self) -> Result<Tally, Flaw> {
        Err(Flaw::Unsupported(format!("this drawing is nested more than {DEPTH_MAX} deep")))
    }

    /// Adds what the attributes of a node refer to.
    fn count_references(
        &mut self,
        node: Node<'a, 'input>,
        depth: u32,
        tally: &mut Tally,
    ) -> Result<(), Flaw> {
        let own = tally.elements;
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            if name == "href" {
                if let Some(id) = value.strip_prefix('#') {
                    self.add(id, 1, depth, tally)?;
                }
                continue;
            }
            for id in references(value) {
                // Paint and markers are inherited by everything inside.
                let inherited =
                    name == "style" || name == "fill" || name == "stroke" || name.starts_with("marker");
                let along = name == "marker-mid" || (name == "style" && value.contains("marker"));
                let times = if along { self.vertices(node, own) } else { 1 };
                self.add(id, times.max(if inherited { own } else { 1 }), depth, tally)?;
            }
        }
        if is_drawn(node) && !self.styled.is_empty() {
            let times = if has_outline(node) { outline_vertices(node) } else { 1 };
            for at in 0..self.styled.len() {
                let target = self.styled[at];
                // A style sheet may mean others: what would go in a circle does not count.
                if self.counted.get(&target.id()).is_some_and(Option::is_none) {
                    continue;
                }
                self.add_node(target, times, depth, tally)?;
            }
        }
        Ok(())
    }

    /// How often a marker may be drawn along a shape, or along everything in a group, of which any may be the longest.
    fn vertices(&self, node: Node<'a, 'input>, elements: u64) -> u64 {
        match has_outline(node) {
            true => outline_vertices(node),
            false => self.longest.saturating_mul(elements),
        }
    }

    fn add(&mut self, id: &str, times: u64, depth: u32, tally: &mut Tally) -> Result<(), Flaw> {
        let Some(target) = self.ids.get(id).copied() else { return Ok(()) };
        self.add_node(target, times, depth, tally)
    }

    fn add_node(
        &mut self,
        target: Node<'a, 'input>,
        times: u64,
        depth: u32,
        tally: &mut Tally,
    ) -> Result<(), Flaw> {
        // Gradients cost their stops once, not for each vertex of a path.
        let gradient = is_gradient(target);
        let marker = target.tag_name().name() == "marker";
        let inner = self.count(target, depth + 1)?;
        let times = match (gradient, marker) {
            (true, _) => return Ok(()),
            (_, true) => times,
            _ => times.min(tally.elements),
        };
        tally.elements = tally.elements.saturating_add(inner.elements.saturating_mul(times));
        tally.height = tally.height.max(inner.height + 1);
        tally.check()
    }
}

fn is_gradient(node: Node<'_, '_>) -> bool {
    matches!(node.tag_name().name(), "linearGradient" | "radialGradient")
}

/// Elements that paint.
fn is_drawn(node: Node<'_, '_>) -> bool {
    let name = node.tag_name().name();
    matches!(
        name,
        "path"
            | "rect"
            | "circle"
            | "ellipse"
            | "line"
            | "polyline"
            | "polygon"
            | "text"
            | "tspan"
            | "use"
            | "g"
            | "svg"
    )
}

/// Elements whose text is laid out.
fn is_written(node: Node<'_, '_>) -> bool {
    matches!(node.tag_name().name(), "text" | "tspan" | "textPath" | "tref" | "a")
}

/// Letters of an element's own text, at most.
fn letters(node: Node<'_, '_>) -> u64 {
    node.children().filter(Node::is_text).filter_map(|text| text.text()).map(|text| text.len() as u64).sum()
}

/// Elements along which markers are drawn.
fn has_outline(node: Node<'_, '_>) -> bool {
    matches!(node.tag_name().name(), "path" | "line" | "polyline" | "polygon")
}

/// Most vertices of the outline of a shape: one for every two letters.
fn outline_vertices(node: Node<'_, '_>) -> u64 {
    node.attribute("d").or(node.attribute("points")).map_or(2, |outline| outline.len() as u64 / 2 + 2)
}

/// The names in `url(#name)`.
fn references(value: &str) -> impl Iterator<Item = &str> {
    value.split("url(").skip(1).filter_map(|part| {
        let name = part.split(')').next()?.trim().trim_matches(['"', '\'']).trim();
        name.strip_prefix('#')
    })
}
