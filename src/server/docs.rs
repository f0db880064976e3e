//! `/docs`: the OpenAPI document as a page for people.
//!
//! Owns the page, written once at start from the very document that `/openapi.json` answers with, so that the two can't disagree. It needs
//! no script to be read; one adds the search. Called by the router.

mod schemas;

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Map, Value};

use super::body::Body;
use super::call::Call;
use super::html::{self, escape, prose};
use super::{page, problems, respond};
use schemas::{anchor, fields, type_of};

/// How paths are grouped: a title, and the beginnings of the paths below it. The first that fits takes a path.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Events", &["/v1/events", "/v1/jobs/{id}/events"]),
    ("Results", &["/v1/jobs/{id}/outputs", "/v1/jobs/{id}/source"]),
    ("Deliveries", &["/v1/jobs/{id}/deliveries", "/v1/deliveries", "/v1/receivers"]),
    ("Jobs", &["/v1/jobs"]),
    ("This server", &["/v1/", "/health/", "/metrics", "/openapi.json"]),
    ("Pages", &["/"]),
];
/// The order in which groups are shown: what people come for first.
const ORDER: [&str; 6] = ["Jobs", "Results", "Events", "Deliveries", "This server", "Pages"];

/// The page, made once at start.
pub(super) struct Docs {
    page: Bytes,
}

impl Docs {
    /// Writes the page of a document.
    pub(super) fn new(document: &Value) -> Docs {
        let mut sections: Vec<(String, String, String)> = Vec::new();
        for title in ORDER {
            sections.push((anchor(title), title.to_owned(), group(document, title)));
        }
        sections.push(("operations".to_owned(), "Image operations".to_owned(), operations(document)));
        sections.push(("webhooks".to_owned(), "Webhooks".to_owned(), webhooks(document)));
        sections.push(("schemas".to_owned(), "Schemas".to_owned(), schemas::all(document)));
        sections.push(("problems".to_owned(), "Problems".to_owned(), list_of_problems()));
        let contents: String = sections
            .iter()
            .map(|(id, title, _)| format!("<li><a href=\"#{id}\">{}</a></li>", escape(title)))
            .collect();
        let body: String = sections
            .iter()
            .map(|(id, title, body)| {
                format!("<section id=\"{id}\" class=\"part\"><h2>{}</h2>\n{body}</section>\n", escape(title))
            })
            .collect();
        let main = format!(
            "<div class=\"docs\"><nav class=\"contents\" aria-label=\"Contents\"><div id=\"search\" hidden></div><ul>{contents}</ul>\
             <p><a href=\"/openapi.json\">openapi.json</a></p></nav>\n<div class=\"prose\"><h1>API reference</h1><p>{} Version {}.</p>\
             <p id=\"found\" role=\"status\"></p>\n{body}</div></div>",
            prose(text(&document["info"]["description"])),
            escape(text(&document["info"]["version"])),
        );
        Docs {
            page: html::document(
                "API reference",
                &["/page/base.css", "/page/docs.css"],
                &["/page/docs.js"],
                &main,
            )
            .into(),
        }
    }

    /// The page as text.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.page).unwrap()
    }
}

/// Answers with the page.
pub(super) fn show(call: &Call) -> Response<Body> {
    respond::page(call.state.docs.page.clone(), page::policy())
}

/// Text of a JSON string; anything else is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn group_of(path: &str) -> &'static str {
    GROUPS
        .iter()
        .find(|(_, beginnings)| beginnings.iter().any(|beginning| path.starts_with(beginning)))
        .map_or("Pages", |(title, _)| title)
}

/// Every operation of a group.
fn group(document: &Value, title: &str) -> String {
    let mut body = String::new();
    let server = text(&document["servers"][0]["url"]).trim_end_matches('/');
    for (path, item) in members(&document["paths"]).filter(|(path, _)| group_of(path) == title) {
        for (method, operation) in members(item) {
            body.push_str(&call_card(server, path, method, operation));
        }
    }
    body
}

/// One operation of the API.
fn call_card(server: &str, path: &str, method: &str, operation: &Value) -> String {
    let id = text(&operation["operationId"]);
    let method = method.to_uppercase();
    let mut card = format!(
        "<article class=\"panel card\" id=\"{id}\"><h3><span class=\"method {}\">{method}</span> <code>{}</code></h3>\n<p>{}</p>\n",
        method.to_lowercase(),
        escape(path),
        prose(text(&operation["summary"])),
        id = escape(id),
    );
    if let Some(description) = operation["description"].as_str() {
        card.push_str(&format!("<p>{}</p>\n", prose(description)));
    }
    card.push_str(&format!(
        "<pre tabindex=\"0\" aria-label=\"Example\">{}</pre>\n",
        escape(&sample(server, path, &method, id))
    ));
    card.push_str(&parameters(&operation["parameters"]));
    card.push_str(&bodies("Body", &operation["requestBody"]["content"]));
    card.push_str("<h4>Answers</h4>\n<dl class=\"answers\">\n");
    for (status, answer) in members(&operation["responses"]) {
        // Writing to a String can't fail, here and below.
        let _always_ok =
            writeln!(card, "<dt><code>{}</code></dt><dd>{}</dd>", escape(status), answer_of(answer));
    }
    card.push_str("</dl></article>\n");
    card
}

fn answer_of(answer: &Value) -> String {
    if answer.get("$ref").is_some() {
        return "Anything else is a <a href=\"#problems\">problem</a>: <a href=\"#schema-problemdetails\">ProblemDetails</a>.".to_owned();
    }
    let types: Vec<String> = members(&answer["content"])
        .map(|(media_type, content)| {
            format!("<code>{}</code> {}", escape(media_type), type_of(&content["schema"]))
        })
        .collect();
    format!("{} {}", prose(text(&answer["description"])), types.join(", "))
}

fn parameters(list: &Value) -> String {
    let Some(list) = list.as_array().filter(|list| !list.is_empty()) else { return String::new() };
    let mut table = String::from("<h4>Parameters</h4>\n<dl class=\"fields\">\n");
    for parameter in list {
        let place = text(&parameter["in"]);
        let required =
            if parameter["required"] == true { " <span class=\"must\">required</span>" } else { "" };
        let _always_ok = writeln!(
            table,
            "<dt><code>{}</code> <small>{place}</small>{required}</dt><dd>{} <span class=\"type\">{}</span></dd>",
            escape(text(&parameter["name"])),
            prose(text(&parameter["description"])),
            type_of(&parameter["schema"]),
        );
    }
    table.push_str("</dl>\n");
    table
}

fn bodies(title: &str, content: &Value) -> String {
    let mut list = String::new();
    for (media_type, body) in members(content) {
        let parts = body["schema"].get("properties").map(|_| fields(&body["schema"])).unwrap_or_default();
        let _always_ok = writeln!(
            list,
            "<dt><code>{}</code></dt><dd>{}{parts}</dd>",
            escape(media_type),
            type_of(&body["schema"])
        );
    }
    if list.is_empty() { list } else { format!("<h4>{title}</h4>\n<dl class=\"answers\">\n{list}</dl>\n") }
}

/// A command that makes this request.
fn sample(server: &str, path: &str, method: &str, id: &str) -> String {
    let url = format!(
        "{server}{}",
        path.replace("{id}", "$ID")
            .replace("{name}", "output")
            .replace("{code}", "invalid_spec")
            .replace("{file}", "main.js")
    );
    match id {
        "submitJob" => format!(
            "curl --data-binary @photo.jpg '{url}?width=800&format=webp'\n\n\
             curl '{url}?wait=30' -F job='{{\"outputs\": [{{\"name\": \"thumb\", \"format\": \"webp\",\n  \
             \"operations\": [{{\"op\": \"resize\", \"width\": 320}}]}}]}}' -F file=@photo.jpg\n\n\
             curl '{url}' -H 'Content-Type: application/json' \\\n  -d '{{\"source\": {{\"url\": \"https://example.com/photo.jpg\"}}, \"outputs\": [{{\"format\": \"avif\"}}]}}'"
        ),
        "getJob" => format!("curl \"{url}?wait=30\""),
        "getOutput" | "getSource" => format!("curl -OJ \"{url}\""),
        "listJobs" => format!("curl '{url}?status=failed&limit=20'"),
        _ if id.ends_with("Events") => format!("curl -N \"{url}\""),
        _ if method == "GET" => format!("curl \"{url}\""),
        _ => format!("curl -X {method} \"{url}\""),
    }
}

/// What can be done to an image, from the schema of a specification.
fn operations(document: &Value) -> String {
    let spec = &document["components"]["schemas"]["JobSpec"]["properties"];
    let known = spec["operations"]["items"]["oneOf"].as_array().cloned().unwrap_or_default();
    let mut body = String::from(
        "<p>In <code>operations</code> of a job, before all outputs, or of one output; run in the order of the list.</p>\n",
    );
    for operation in &known {
        let name = text(&operation["title"]);
        let example = &operation["examples"][0];
        let _always_ok = writeln!(
            body,
            "<article class=\"panel card\" id=\"op-{0}\"><h3><code>{0}</code></h3>\n<p>{1}</p>\n<pre tabindex=\"0\" aria-label=\"Example\">{2}</pre>\n{3}</article>",
            escape(name),
            prose(text(&operation["description"])),
            escape(&example.to_string()),
            fields(operation),
        );
    }
    body
}

fn webhooks(document: &Value) -> String {
    let mut body = String::new();
    for (name, item) in members(&document["webhooks"]) {
        let post = &item["post"];
        let _always_ok = write!(
            body,
            "<article class=\"panel card\" id=\"webhook-{}\"><h3><span class=\"method post\">POST</span> <code>{}</code></h3>\n<p>{}</p>\n{}{}",
            anchor(name),
            escape(name),
            prose(text(&post["summary"])),
            parameters(&post["parameters"]),
            bodies("Body", &post["requestBody"]["content"]),
        );
        body.push_str("<h4>What the receiver answers</h4>\n<dl class=\"answers\">\n");
        for (status, answer) in members(&post["responses"]) {
            let _always_ok =
                writeln!(body, "<dt><code>{}</code></dt><dd>{}</dd>", escape(status), answer_of(answer));
        }
        body.push_str("</dl></article>\n");
    }
    body
}

fn list_of_problems() -> String {
    let rows: String = problems::titles()
        .map(|(code, title)| {
            format!(
                "<dt><a href=\"/problems/{code}\"><code>{code}</code></a></dt><dd>{}</dd>\n",
                escape(&title)
            )
        })
        .collect();
    format!("<article class=\"panel card\"><dl class=\"answers\">\n{rows}</dl></article>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::openapi;

    #[test]
    fn every_operation_schema_webhook_and_problem_is_on_the_page() {
        let document = openapi::document(&Default::default(), "http://127.0.0.1:8080", true);
        let docs = Docs::new(&document);
        let page = docs.text();
        let mut wanted: Vec<String> = Vec::new();
        for (_, item) in members(&document["paths"]) {
            wanted.extend(members(item).map(|(_, operation)| text(&operation["operationId"]).to_owned()));
        }
        wanted.extend(
            members(&document["components"]["schemas"]).map(|(name, _)| format!("schema-{}", anchor(name))),
        );
        wanted.extend(members(&document["webhooks"]).map(|(name, _)| format!("webhook-{}", anchor(name))));
        wanted.extend(crate::pipeline::REGISTRY.iter().map(|known| format!("op-{}", known.name)));
        assert!(wanted.len() > 60, "{}", wanted.len());
        for id in wanted {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(page.contains("href=\"/problems/gone\""));
    }

    #[test]
    fn every_link_leads_somewhere() {
        let docs = Docs::new(&openapi::document(&Default::default(), "", false));
        let page = docs.text();
        let links: Vec<&str> =
            page.match_indices("href=\"#").map(|(at, found)| &page[at + found.len()..]).collect();
        assert!(links.len() > 40);
        for link in links {
            let id = &link[..link.find('"').unwrap()];
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
