//! A bank, or the browser that carries its callback. It calls Signpost, and does not follow the redirect in the answer.

use reqwest::Client;
use reqwest::redirect::Policy;

use crate::local_stack::Answer;

/// A bank.
#[derive(Clone, Debug)]
pub struct Bank {
    http: Client,
}

impl Default for Bank {
    fn default() -> Self {
        Self { http: Client::builder().redirect(Policy::none()).build().expect("a client") }
    }
}

impl Bank {
    /// Calls back with parameters in the query: the first of the two forms in Token.io's documentation.
    ///
    /// # Panics
    /// Signpost does not answer.
    pub async fn get(&self, callback_url: &str, query: &str) -> Answer {
        Answer::read(self.http.get(format!("{callback_url}?{query}")).send().await).await
    }

    /// Does what [`Self::get`] does, with a header, such as the one that a browser sends when it prefetches a link.
    ///
    /// # Panics
    /// Signpost does not answer.
    pub async fn get_with(&self, callback_url: &str, query: &str, (name, value): (&str, &str)) -> Answer {
        let request = self.http.get(format!("{callback_url}?{query}")).header(name, value);
        Answer::read(request.send().await).await
    }

    /// Sends a `HEAD` request, as mail gateways and chats do for the links that they show.
    ///
    /// # Panics
    /// Signpost does not answer.
    pub async fn head(&self, callback_url: &str, query: &str) -> Answer {
        Answer::read(self.http.head(format!("{callback_url}?{query}")).send().await).await
    }

    /// Calls back with a form or a JSON object: the second of the two forms in Token.io's documentation.
    ///
    /// # Panics
    /// Signpost does not answer.
    pub async fn post(&self, callback_url: &str, media_type: &str, body: impl Into<String>) -> Answer {
        let request = self.http.post(callback_url).header("content-type", media_type).body(body.into());
        Answer::read(request.send().await).await
    }
}
