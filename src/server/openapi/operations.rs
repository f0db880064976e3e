//! Paths and webhooks of the document.

use serde_json::{Map, Value, json};

use super::reference;
use crate::api::{query, schema};
use crate::job::{Event, Status};

/// Every path with its methods.
pub(super) fn paths() -> Value {
    json!({
        "/v1/jobs": {"post": submit(), "get": list()},
        "/v1/jobs/{id}": {
            "get": {
                "operationId": "getJob", "summary": "The job as it is now, or after waiting for news of it.",
                "parameters": [id(), wait(), header("If-None-Match", "The ETag of the job as you know it.")],
                "responses": answers(&[
                    ("200", job_answer("The job.")),
                    ("304", described("It is as you know it.")),
                ]),
            },
            "delete": {
                "operationId": "deleteJob", "summary": "Cancels the job if it runs, then removes it with its source and outputs.",
                "parameters": [id()],
                "responses": answers(&[("204", described("It is gone; later reads are answered with 410."))]),
            },
        },
        "/v1/jobs/{id}/events": {"get": {
            "operationId": "getJobEvents", "summary": "Server-sent events of one job until it has ended.",
            "parameters": [id(), header("Last-Event-ID", "The last version seen.")],
            "responses": answers(&[
                ("200", events_answer()),
                ("204", described("The job has ended, and its last event was seen.")),
            ]),
        }},
        "/v1/jobs/{id}/outputs/{name}": {"get": file("getOutput", "A result.", vec![
            id(), path("name", "Name of the output."), wait(),
            query_parameter("expires", "Of a signed link: until when it works, in seconds since 1970.", json!({"type": "integer"})),
            query_parameter("signature", "Of a signed link, which needs no API key.", json!({"type": "string"})),
        ])},
        "/v1/jobs/{id}/source": {"get": file("getSource", "The stored original, while it is kept.", vec![id()])},
        "/v1/jobs/{id}/cancel": {"post": {
            "operationId": "cancelJob", "summary": "Stops the job; an ended one stays as it is.",
            "parameters": [id()],
            "responses": answers(&[
                ("200", job_answer("The job, ended.")),
                ("202", job_answer("The job, about to be stopped.")),
            ]),
        }},
        "/v1/jobs/{id}/retry": {"post": {
            "operationId": "retryJob", "summary": "Queues a failed or cancelled job again, from its stored source.",
            "parameters": [id()],
            "responses": answers(&[("202", job_answer("The job, queued."))]),
        }},
        "/v1/jobs/{id}/deliveries": {"get": {
            "operationId": "getJobDeliveries", "summary": "The log of the job's webhook: every attempt with the receiver's answer.",
            "parameters": [id()],
            "responses": answers(&[("200", json_answer("Deliveries, newest first.", "DeliveryList"))]),
        }},
        "/v1/jobs/{id}/deliveries/redeliver": {"post": {
            "operationId": "redeliverJob",
            "summary": "Sends the job's last event again, with the same `webhook-id` and body, whether it had arrived or not.",
            "parameters": [id()],
            "responses": answers(&[("202", job_answer("The job; its delivery is due."))]),
        }},
        "/v1/deliveries": {"get": {
            "operationId": "listDeadLetters", "summary": "Deliveries that were given up, newest first, each with its last attempt.",
            "parameters": [
                query_parameter("status", "The only one there is.", json!({"type": "string", "enum": ["failed"]})),
                receiver(false),
                query_parameter("limit", "Deliveries a page.", json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50})),
                cursor("^msg_[0-9a-f]{32}$"),
            ],
            "responses": answers(&[("200", json_answer("A page; `Link: <…>; rel=\"next\"` leads on.", "DeliveryList"))]),
        }},
        "/v1/deliveries/redeliver": {"post": {
            "operationId": "redeliverDeadLetters", "summary": "Sends again what was given up since a moment.",
            "parameters": [
                {"name": "since", "in": "query", "required": true, "description": "What was given up then or later.",
                    "schema": {"type": "string", "format": "date-time"}},
                receiver(false),
            ],
            "responses": answers(&[("202", json_answer("How many deliveries are due now.", "RedeliveredView"))]),
        }},
        "/v1/receivers": {"get": {
            "operationId": "listReceivers", "summary": "Receivers that have taken nothing since they last failed, and disabled ones.",
            "responses": answers(&[("200", json_answer("By name, a thousand at most.", "ReceiverList"))]),
        }},
        "/v1/receivers/enable": {"post": {
            "operationId": "enableReceiver", "summary": "Calls a receiver again that was disabled because it had failed for days.",
            "parameters": [receiver(true)],
            "responses": answers(&[("204", described("It is called again; what was given up can be sent again."))]),
        }},
        "/v1/events": {"get": {
            "operationId": "getEvents", "summary": "Server-sent events of all jobs.",
            "parameters": [header("Last-Event-ID", "The last event seen; `event: reset` comes first when it is too old.")],
            "responses": answers(&[("200", events_answer())]),
        }},
        "/v1/stats": {"get": {
            "operationId": "getStats", "summary": "What the dashboard draws, and what each API key uses. A key without the scope `admin` gets the figures of its own jobs.",
            "responses": answers(&[("200", json_answer("Numbers of this moment.", "StatsView"))]),
        }},
        "/v1/capabilities": {"get": {
            "operationId": "getCapabilities", "summary": "Formats, operations, presets and limits of this server.",
            "responses": answers(&[("200", json_answer("What this server can do.", "Capabilities"))]),
        }},
        "/openapi.json": {"get": plain("getOpenApi", "This document.", "application/json")},
        "/docs": {"get": plain("getDocs", "This document as a page.", "text/html")},
        "/problems/{code}": {"get": {
            "operationId": "getProblem", "summary": "What a problem's code means and what to do.",
            "parameters": [path("code", "A problem's `code`.")],
            "responses": answers(&[("200", content("A page.", "text/html", json!({"type": "string"})))]),
        }},
        "/health/live": {"get": plain("getLive", "This process answers.", "application/json")},
        "/health/ready": {"get": {
            "operationId": "getReady", "summary": "Whether jobs can be taken: store, blobs and pool are tried.",
            "responses": {
                "200": content("They can.", "application/json", json!({"type": "object"})),
                "503": content("They can't, or the server is about to stop.", "application/json", json!({"type": "object"})),
            },
        }},
        "/metrics": {"get": {
            "operationId": "getMetrics", "summary": "Metrics for Prometheus, in OpenMetrics for who asks for that.",
            "responses": answers(&[("200", json!({"description": "The metrics.", "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            }}))]),
        }},
        "/": {"get": plain("getPage", "The dashboard.", "text/html")},
        "/page/{file}": {"get": {
            "operationId": "getPageFile", "summary": "A script, style or drawing of the pages.",
            "parameters": [path("file", "Its name.")],
            "responses": answers(&[("200", content("The file.", "text/*", json!({"type": "string"}))), ("304", described("You have it."))]),
        }},
    })
}

/// What is sent to webhooks.
pub(super) fn webhooks() -> Value {
    let hooks = Event::ALL.map(|event| {
        let hook = json!({"post": {
            "summary": format!("Sent when a job has ended as `{}`; signed as Standard Webhooks 1.0 says.", event.name()),
            "parameters": [
                header("webhook-id", "The same over all attempts of one delivery."),
                header("webhook-timestamp", "Seconds since 1970 of this attempt."),
                header("webhook-signature", "`v1,` and the base64 HMAC-SHA256 of id, timestamp and body; several while a secret is being rotated."),
                header("traceparent", "That of the submit, if it had one (W3C Trace Context)."),
            ],
            "requestBody": {"required": true, "content": {"application/json": {"schema": reference("WebhookBody")}}},
            "responses": {
                "2XX": {"description": "Received; anything else is tried again later."},
                "410": {"description": "Never again, please."},
            },
        }});
        (event.name().to_owned(), hook)
    });
    Value::Object(hooks.into_iter().collect())
}

fn submit() -> Value {
    let mut parameters: Vec<Value> = query::raw_params()
        .iter()
        .map(|param| {
            let mut schema = schema::in_query(param);
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let is_list = schema["type"] == "array";
            let mut described =
                json!({"name": param.name, "in": "query", "description": description, "schema": schema});
            if is_list {
                described["explode"] = json!(false);
            }
            described
        })
        .collect();
    let mut idempotency =
        header("Idempotency-Key", "The same key, specification and image twice are one job.");
    idempotency["schema"] =
        json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"});
    parameters.push(idempotency);
    parameters.push(header("Prefer", "`wait=N`: answer with 200 if the job ends within N seconds."));
    parameters.push(header("Content-Digest", "Digest of the body; one that does not match is refused."));
    json!({
        "operationId": "submitJob",
        "summary": "Submits an image and what to do with it.",
        "description": "The image as the body with the specification in the query; a form; or JSON that names the image's URL.",
        "parameters": parameters,
        "requestBody": {"required": true, "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {
                    "job": reference("JobSpec"), "file": {"type": "string", "format": "binary"},
                }, "additionalProperties": {"type": "string", "format": "binary",
                    "description": "A further image by the name that an `overlay` gives as its `input`."}},
                "encoding": {"job": {"contentType": "application/json"}},
            },
            "application/json": {"schema": reference("JobSpec")},
        }},
        "responses": answers(&[
            ("200", content("The job, ended in the time you wanted to wait; or the plan of a dry run.", "application/json",
                json!({"oneOf": [reference("JobView"), reference("PlanView")]}))),
            ("202", job_answer("The job is on stable storage.")),
        ]),
    })
}

fn list() -> Value {
    json!({
        "operationId": "listJobs", "summary": "Jobs, newest first.",
        "parameters": [
            query_parameter("status", "Only jobs that stand there.", json!({"type": "string", "enum": Status::ALL.map(Status::name)})),
            query_parameter("tag", "Only jobs with this tag.", json!({"type": "string"})),
            query_parameter("limit", "Jobs a page.", json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50})),
            query_parameter("cursor", "From the Link header of the page before; or a job's id, for those that are older.", json!({"type": "string",
                "pattern": "^([A-Za-z0-9_-]{21}[AQgw]|[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})$"})),
        ],
        "responses": answers(&[("200", json_answer("A page; `Link: <…>; rel=\"next\"` leads on.", "JobList"))]),
    })
}

fn file(operation: &str, summary: &str, mut parameters: Vec<Value>) -> Value {
    parameters.push(header("Range", "One range of bytes."));
    parameters.push(header("If-None-Match", "The ETag (SHA-256) that you have."));
    let bytes =
        |description: &str| content(description, "image/*", json!({"type": "string", "format": "binary"}));
    json!({
        "operationId": operation, "summary": summary, "parameters": parameters,
        "responses": answers(&[
            ("200", bytes("The bytes.")),
            ("206", bytes("The bytes of the range.")),
            ("304", described("You have it.")),
        ]),
    })
}

fn plain(operation: &str, summary: &str, media_type: &str) -> Value {
    let schema =
        if media_type == "application/json" { json!({"type": "object"}) } else { json!({"type": "string"}) };
    json!({
        "operationId": operation, "summary": summary,
        "responses": answers(&[("200", content(summary, media_type, schema))]),
    })
}

/// Answers by status, and the problem that every route may answer with.
fn answers(known: &[(&str, Value)]) -> Value {
    let mut answers: Map<String, Value> =
        known.iter().map(|(status, answer)| ((*status).to_owned(), answer.clone())).collect();
    answers.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    Value::Object(answers)
}

fn described(description: &str) -> Value {
    json!({"description": description})
}

fn content(description: &str, media_type: &str, schema: Value) -> Value {
    json!({"description": description, "content": {media_type: {"schema": schema}}})
}

fn json_answer(description: &str, schema: &str) -> Value {
    content(description, "application/json", reference(schema))
}

fn job_answer(description: &str) -> Value {
    json_answer(description, "JobView")
}

fn events_answer() -> Value {
    content("`event: job`, `id:` and the job as `data:`.", "text/event-stream", json!({"type": "string"}))
}

fn id() -> Value {
    let mut id = path("id", "The job's id.");
    id["schema"] = json!({"type": "string", "format": "uuid"});
    id
}

fn path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

fn query_parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn cursor(pattern: &str) -> Value {
    query_parameter(
        "cursor",
        "From the Link header of the page before.",
        json!({"type": "string", "pattern": pattern}),
    )
}

fn receiver(is_required: bool) -> Value {
    json!({"name": "receiver", "in": "query", "required": is_required, "schema": {"type": "string", "format": "uri"},
        "description": "Scheme, host and port of a webhook's address; what follows them does not matter."})
}

fn wait() -> Value {
    let schema = json!({"type": "integer", "minimum": 0, "maximum": query::WAIT_SECONDS_MAX});
    query_parameter(
        "wait",
        "Seconds to wait for the job's end, or for another version than If-None-Match names.",
        schema,
    )
}
