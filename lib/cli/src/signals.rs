//! Ctrl-C and SIGTERM, as something to wait for.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use crate::failure::{Failure, Outcome};

/// A wish that the command ends.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for signals from now on. A second signal ends the process at once.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn listen() -> Outcome<Self> {
        let failed =
            |error: std::io::Error| Failure::refused(format!("signals cannot be caught: {error}"), "try again");
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let (sender, receiver) = watch::channel(false);
        std::thread::spawn(move || {
            for (index, _) in signals.forever().enumerate() {
                if index > 0 {
                    std::process::exit(130);
                }
                sender.send_replace(true);
            }
        });
        Ok(Self(receiver))
    }

    /// Waits for the first signal.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|is_over| *is_over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
