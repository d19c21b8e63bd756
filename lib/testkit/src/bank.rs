//! A bank that calls back, or the browser that carries its callback: it is told where to go on, and does not go there.

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
    /// Calls back with parameters in the query, as the page shows it first.
    ///
    /// # Panics
    /// No answer came.
    pub async fn get(&self, callback_url: &str, query: &str) -> Answer {
        Answer::read(self.http.get(format!("{callback_url}?{query}")).send().await).await
    }

    /// Asks for the same as [`Self::get`], with a header: as a browser does ahead of its user, for one.
    ///
    /// # Panics
    /// No answer came.
    pub async fn get_with(&self, callback_url: &str, query: &str, (name, value): (&str, &str)) -> Answer {
        let request = self.http.get(format!("{callback_url}?{query}")).header(name, value);
        Answer::read(request.send().await).await
    }

    /// Asks whether there is something, as mail gateways and chats do for the links that they show.
    ///
    /// # Panics
    /// No answer came.
    pub async fn head(&self, callback_url: &str, query: &str) -> Answer {
        Answer::read(self.http.head(format!("{callback_url}?{query}")).send().await).await
    }

    /// Calls back with a form or a JSON object, as the page shows it second.
    ///
    /// # Panics
    /// No answer came.
    pub async fn post(&self, callback_url: &str, media_type: &str, body: impl Into<String>) -> Answer {
        let request = self.http.post(callback_url).header("content-type", media_type).body(body.into());
        Answer::read(request.send().await).await
    }
}
