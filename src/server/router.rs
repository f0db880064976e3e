//! The API's table of contents: every path, every method, and who answers.

use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::body::Body;
use super::call::Call;
use super::error::{ApiError, Code};
use super::{
    auth, capabilities, deliveries, docs, events, health, jobs, metrics, openapi, outputs, page, problems,
    respond, source, stats,
};

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Page,
    PageFile,
    Submit,
    ListJobs,
    ReadJob,
    DeleteJob,
    JobEvents,
    AllEvents,
    ReadOutput,
    ReadSource,
    CancelJob,
    RetryJob,
    JobDeliveries,
    Redeliver,
    DeadLetters,
    RedeliverDeadLetters,
    Receivers,
    EnableReceiver,
    Stats,
    Capabilities,
    OpenApi,
    Docs,
    Problem,
    Live,
    Ready,
    Metrics,
}

/// A path (names in braces stand for one segment) and what its methods do.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) methods: &'static [(Method, Action)],
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    Route { path: "/v1/jobs", methods: &[(Method::POST, Action::Submit), (Method::GET, Action::ListJobs)] },
    Route {
        path: "/v1/jobs/{id}",
        methods: &[(Method::GET, Action::ReadJob), (Method::DELETE, Action::DeleteJob)],
    },
    Route { path: "/v1/jobs/{id}/events", methods: &[(Method::GET, Action::JobEvents)] },
    Route { path: "/v1/jobs/{id}/outputs/{name}", methods: &[(Method::GET, Action::ReadOutput)] },
    Route { path: "/v1/jobs/{id}/source", methods: &[(Method::GET, Action::ReadSource)] },
    Route { path: "/v1/jobs/{id}/cancel", methods: &[(Method::POST, Action::CancelJob)] },
    Route { path: "/v1/jobs/{id}/retry", methods: &[(Method::POST, Action::RetryJob)] },
    Route { path: "/v1/jobs/{id}/deliveries", methods: &[(Method::GET, Action::JobDeliveries)] },
    Route { path: "/v1/jobs/{id}/deliveries/redeliver", methods: &[(Method::POST, Action::Redeliver)] },
    Route { path: "/v1/deliveries", methods: &[(Method::GET, Action::DeadLetters)] },
    Route { path: "/v1/deliveries/redeliver", methods: &[(Method::POST, Action::RedeliverDeadLetters)] },
    Route { path: "/v1/receivers", methods: &[(Method::GET, Action::Receivers)] },
    Route { path: "/v1/receivers/enable", methods: &[(Method::POST, Action::EnableReceiver)] },
    Route { path: "/v1/events", methods: &[(Method::GET, Action::AllEvents)] },
    Route { path: "/v1/stats", methods: &[(Method::GET, Action::Stats)] },
    Route { path: "/v1/capabilities", methods: &[(Method::GET, Action::Capabilities)] },
    Route { path: "/openapi.json", methods: &[(Method::GET, Action::OpenApi)] },
    Route { path: "/docs", methods: &[(Method::GET, Action::Docs)] },
    Route { path: "/problems/{code}", methods: &[(Method::GET, Action::Problem)] },
    Route { path: "/health/live", methods: &[(Method::GET, Action::Live)] },
    Route { path: "/health/ready", methods: &[(Method::GET, Action::Ready)] },
    Route { path: "/metrics", methods: &[(Method::GET, Action::Metrics)] },
    Route { path: "/", methods: &[(Method::GET, Action::Page)] },
    Route { path: "/page/{file}", methods: &[(Method::GET, Action::PageFile)] },
];

/// Finds the route and lets it answer. HEAD is GET without the body; OPTIONS tells what is allowed; any other method is 405.
pub(super) async fn dispatch(mut call: Call) -> Result<Response<Body>, ApiError> {
    if call.head.method == Method::OPTIONS && call.head.uri.path() == "*" {
        return Ok(allowing(respond::empty(StatusCode::NO_CONTENT), "GET, HEAD, POST, DELETE, OPTIONS"));
    }
    let Some((route, parameters)) = find(call.head.uri.path()) else {
        return Err(ApiError::new(
            Code::NotFound,
            "There is nothing at this address; /openapi.json lists what is.",
        ));
    };
    call.parameters = parameters;
    let wanted = if call.head.method == Method::HEAD { Method::GET } else { call.head.method.clone() };
    if let Some((_, action)) = route.methods.iter().find(|(method, _)| *method == wanted) {
        auth::authorize(&mut call, *action)?;
        return act(*action, call).await;
    }
    let allowed = route.allowed();
    if wanted == Method::OPTIONS {
        return Ok(allowing(respond::empty(StatusCode::NO_CONTENT), &allowed));
    }
    let error = ApiError::new(Code::MethodNotAllowed, format!("Here one can use {allowed}."));
    Err(match HeaderValue::try_from(allowed) {
        Ok(value) => error.header(header::ALLOW, value),
        Err(_) => error,
    })
}

async fn act(action: Action, call: Call) -> Result<Response<Body>, ApiError> {
    match action {
        Action::Page => Ok(page::show()),
        Action::PageFile => page::file(&call),
        Action::Submit => jobs::submit::submit(call).await,
        Action::ListJobs => jobs::list::list(&call).await,
        Action::ReadJob => jobs::read::read(&call).await,
        Action::DeleteJob => jobs::change::delete(&call).await,
        Action::JobEvents => events::of_job(&call).await,
        Action::AllEvents => events::of_all(&call),
        Action::ReadOutput => outputs::read(&call).await,
        Action::ReadSource => source::read(&call).await,
        Action::CancelJob => jobs::change::cancel(&call).await,
        Action::RetryJob => jobs::change::retry(&call).await,
        Action::JobDeliveries => deliveries::of_job(&call).await,
        Action::Redeliver => deliveries::redeliver(&call).await,
        Action::DeadLetters => deliveries::dead_letters(&call).await,
        Action::RedeliverDeadLetters => deliveries::redeliver_dead_letters(&call).await,
        Action::Receivers => deliveries::receivers(&call).await,
        Action::EnableReceiver => deliveries::enable_receiver(&call).await,
        Action::Stats => stats::show(&call).await,
        Action::Capabilities => Ok(capabilities::show(&call)),
        Action::OpenApi => Ok(openapi::show(&call)),
        Action::Docs => Ok(docs::show(&call)),
        Action::Problem => problems::show(&call),
        Action::Live => Ok(health::live()),
        Action::Ready => Ok(health::ready(&call).await),
        Action::Metrics => Ok(metrics::show(&call)),
    }
}

impl Route {
    /// Value of `Allow`.
    fn allowed(&self) -> String {
        let mut allowed: Vec<&str> = Vec::with_capacity(4);
        for (method, _) in self.methods {
            allowed.push(method.as_str());
            if *method == Method::GET {
                allowed.push("HEAD");
            }
        }
        allowed.push("OPTIONS");
        allowed.join(", ")
    }

    /// The named parts of a path of this route.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut parameters = Vec::new();
        let mut given = path.split('/');
        for wanted in self.path.split('/') {
            let part = given.next()?;
            if wanted.starts_with('{') {
                parameters.push(part);
            } else if wanted != part {
                return None;
            }
        }
        let complete = given.next().is_none() && parameters.iter().all(|part| !part.is_empty());
        complete.then(|| parameters.into_iter().map(str::to_owned).collect())
    }
}

/// Whether this path tells how the server is.
pub(super) fn is_about_health(path: &str) -> bool {
    let is_told_by = |action: &Action| matches!(action, Action::Live | Action::Ready | Action::Metrics);
    find(path).is_some_and(|(route, _)| route.methods.iter().any(|(_, action)| is_told_by(action)))
}

/// The methods that a path takes, as `Allow` lists them; `None` where nothing is.
pub(super) fn allowed(path: &str) -> Option<String> {
    find(path).map(|(route, _)| route.allowed())
}

/// The route's path as it stands in the table, for logs.
pub(super) fn name(path: &str) -> &'static str {
    find(path).map_or("an unknown path", |(route, _)| route.path)
}

fn find(path: &str) -> Option<(&'static Route, Vec<String>)> {
    ROUTES.iter().find_map(|route| Some((route, route.matches(path)?)))
}

fn allowing(mut response: Response<Body>, allowed: &str) -> Response<Body> {
    respond::set(&mut response, header::ALLOW, allowed.to_owned());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_whole() {
        let (route, parameters) = find("/v1/jobs/a/outputs/b").unwrap();
        assert_eq!(route.path, "/v1/jobs/{id}/outputs/{name}");
        assert_eq!(parameters, ["a", "b"]);
        for path in
            ["", "/v1", "/v1/jobs/", "/v1/jobs//events", "/v1/jobs/a/b", "//", "/v1/jobs/a/outputs/b/c"]
        {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn three_paths_are_about_health() {
        let paths: Vec<&str> =
            ROUTES.iter().map(|route| route.path).filter(|path| is_about_health(path)).collect();
        assert_eq!(paths, ["/health/live", "/health/ready", "/metrics"]);
    }

    #[test]
    fn allow_names_every_method() {
        assert_eq!(find("/v1/jobs").unwrap().0.allowed(), "POST, GET, HEAD, OPTIONS");
        assert_eq!(find("/v1/jobs/x").unwrap().0.allowed(), "GET, HEAD, DELETE, OPTIONS");
    }
}
