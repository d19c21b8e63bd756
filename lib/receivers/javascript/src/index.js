// Verifies webhooks from Signpost in one call: see `Receiver`. index.d.ts describes everything that is exported.

export { KeysUnavailable, VerificationError } from './errors.js';
export { FixedKeys, KeySet } from './keys.js';
export { Receiver } from './receiver.js';
