/** Verifies webhooks from Signpost in one call: see {@link signpost.receiver.Receiver}. */
package signpost.receiver;
