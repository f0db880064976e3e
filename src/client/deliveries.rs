//! The verbs on webhook deliveries and their receivers.

use hyper::Method;

use super::jobs::{job_path, next_cursor};
use super::transport::{Call, with_query};
use super::{Client, ClientError};
use crate::api::{DeliveryList, DeliveryView, JobView, ReceiverList, ReceiverView, RedeliveredView};

/// Some deliveries that were given up, newest first.
#[derive(Clone, Debug)]
pub struct DeadLetterPage {
    /// The deliveries, each with its last attempt.
    pub deliveries: Vec<DeliveryView>,
    /// Cursor of the next page, if there is one.
    pub next: Option<String>,
}

impl Client {
    /// The log of a job's webhook, newest delivery first.
    ///
    /// # Errors
    /// A refusal with status 404 for an unknown job and 410 for a removed one.
    pub async fn deliveries(&self, id: &str) -> Result<Vec<DeliveryView>, ClientError> {
        let response = self.call(Call::new(Method::GET, job_path(id, "/deliveries"))).await?;
        Ok(self.read_json::<DeliveryList>(response).await?.deliveries)
    }

    /// Has the job's last event sent again.
    ///
    /// # Errors
    /// A refusal with status 404 if there is none, and 409 while the job has not ended.
    pub async fn redeliver(&self, id: &str) -> Result<JobView, ClientError> {
        let call = Call::new(Method::POST, job_path(id, "/deliveries/redeliver")).once();
        let response = self.call(call).await?;
        self.read_json(response).await
    }

    /// A page of deliveries that were given up, perhaps only those to one receiver.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn dead_letters(
        &self,
        receiver: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<DeadLetterPage, ClientError> {
        let given = [("receiver", receiver), ("cursor", cursor)];
        let path =
            with_query("/v1/deliveries", given.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let response = self.call(Call::new(Method::GET, path)).await?;
        let next = next_cursor(response.headers());
        let list: DeliveryList = self.read_json(response).await?;
        Ok(DeadLetterPage { deliveries: list.deliveries, next })
    }

    /// Has everything sent again that was given up at `since` (RFC 3339) or later, perhaps only what was meant for one receiver; how many
    /// deliveries these are.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn redeliver_since(&self, since: &str, receiver: Option<&str>) -> Result<u64, ClientError> {
        let given = [("since", Some(since)), ("receiver", receiver)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let call = Call::new(Method::POST, with_query("/v1/deliveries/redeliver", given)).once();
        let response = self.call(call).await?;
        Ok(self.read_json::<RedeliveredView>(response).await?.deliveries)
    }

    /// Receivers that take nothing at present, by name.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn receivers(&self) -> Result<Vec<ReceiverView>, ClientError> {
        let response = self.call(Call::new(Method::GET, "/v1/receivers")).await?;
        Ok(self.read_json::<ReceiverList>(response).await?.receivers)
    }

    /// Has a receiver called again that was disabled.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn enable_receiver(&self, receiver: &str) -> Result<(), ClientError> {
        let path = with_query("/v1/receivers/enable", [("receiver", receiver)].into_iter());
        self.call(Call::new(Method::POST, path)).await.map(|_| ())
    }
}
